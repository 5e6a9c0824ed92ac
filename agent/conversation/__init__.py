"""Talking with the recommender: understand a turn, act by tools, answer from what they said."""
