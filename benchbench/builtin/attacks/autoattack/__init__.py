"""AutoAttack (Croce & Hein, "Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free
Attacks", ICML 2020) and the four attacks that it consists of, written from the papers."""
