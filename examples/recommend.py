"""Recommendations from Python: `python examples/recommend.py HOME USER`."""

import sys

from mllm_srec.agent import Recommender, Request


def main(home: str, user: str) -> None:
    """Recommend, with conditions, step by step, and to several users at once."""
    with Recommender.open(home) as srec:
        result = srec.recommend(user, k=3)
        for item in result.items:
            print(f"{item.score:.3f}  {item.title}  {item.reason}")

        for event in srec.stream(user, k=1):
            print(type(event).__name__, getattr(event, "node", ""))

        guest = Request.of("guest", history=[item.item_id for item in result.items])
        for each in srec.recommend_many([Request(user), guest], k=1):
            print(each.user, each.items[0].title)


if __name__ == "__main__":
    main(*sys.argv[1:3])
