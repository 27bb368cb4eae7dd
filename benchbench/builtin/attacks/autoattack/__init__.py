"""AutoAttack and its four attacks, written from the papers (Croce & Hein, ICML 2020).

"Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free Attacks".
"""
