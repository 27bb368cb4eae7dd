"""AutoAttack and its four attacks, written from the papers.

Croce & Hein, "Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free Attacks", ICML 2020.
"""
