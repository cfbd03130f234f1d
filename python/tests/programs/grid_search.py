"""A grid search by scikit-learn, in this process, and in workers some of which are killed meanwhile.

    python grid_search.py FOLDER
"""

import os
import pathlib
import signal
import sys

import dishrack.joblib  # noqa: F401
import numpy
from joblib import parallel_config
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

FOLDER = pathlib.Path(sys.argv[1])
PARENT = os.getpid()


def score(model, samples, classes):
    """Is killed while it rates each third of the candidates for the first time."""
    mark = FOLDER / f"{model.C:.4f}"
    if os.getpid() != PARENT and model.tol == 1e-4 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return model.score(samples, classes)


def search():
    samples, classes = make_classification(500, 20, n_informative=8, random_state=1)
    grid = {"C": numpy.logspace(-3, 2, 8), "tol": [1e-4, 1e-6, 1e-8]}
    model = LogisticRegression(max_iter=2000)
    found = GridSearchCV(model, grid, scoring=score, cv=3).fit(samples, classes)
    return found.best_params_, found.cv_results_["mean_test_score"]


expected = search()
with parallel_config("dishrack", n_jobs=2, max_attempts=20):
    found = search()
assert found[0] == expected[0], (found, expected)
assert numpy.array_equal(found[1], expected[1]), (found, expected)
print(len(list(FOLDER.iterdir())), "killed, the same scores")
