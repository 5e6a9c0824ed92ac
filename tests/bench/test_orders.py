"""What the bench of orders says of the descriptions that changed."""

import numpy as np

from bench.orders import told_of


def test_margins_are_told_of_what_changed_alone() -> None:
    assert told_of(np.array([0.5, -0.1]), 9) == (
        "2 of 9 descriptions changed; of their margins 1 rose and 1 fell, by +0.20 nats on "
        "average, by 0.50 at most"
    )
    # No mean of nothing, which would be a number that is none.
    assert told_of(np.array([]), 9) == "0 of 9 descriptions changed"
