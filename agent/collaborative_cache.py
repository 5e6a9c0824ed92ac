"""The collaborative model of a home, kept from one start to the next."""

import hashlib
from dataclasses import astuple

from mllm_srec.store.files import private_folder
from mllm_srec.store.home import Home
from mllm_srec.tools.collaborative import FIT_VERSION, CollaborativeModel, CollaborativeSettings


def kept_model(home: Home, min_rating: float) -> CollaborativeModel:
    """The model of the whole log, fitted anew unless the file kept is of just this fit.

    Several processes may ask at once, and may have other ratings count as likes: each gets its
    own, and the file of the last one stays.

    Args:
        home: Whose catalogue and log are fitted.
        min_rating: Lowest rating that is a like.

    Raises:
        StoreError: The disk is full.
    """
    frame = home.catalogue.interactions_frame()
    item_ids = home.catalogue.item_ids()
    how = CollaborativeSettings()
    digest = hashlib.sha256("\0".join(item_ids).encode())
    digest.update(frame.hash_rows(seed=0).to_numpy().tobytes())
    digest.update(repr((FIT_VERSION, min_rating, *astuple(how))).encode())
    folder = private_folder(home.path / "collaborative")
    path = folder / f"{digest.hexdigest()[:16]}.npz"
    try:
        return CollaborativeModel.load(path)
    except (OSError, ValueError):
        # Not there, deleted by another process, or damaged.
        model = CollaborativeModel.fit(frame, item_ids, min_rating=min_rating, settings=how)
    model.save(path)
    for other in folder.glob("*.npz"):
        if other != path:
            other.unlink(missing_ok=True)
    return model
