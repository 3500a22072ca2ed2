"""One more task for a run that is finished: what each task gets in the new stage."""

from fractions import Fraction
from math import floor

from ernie_cmtl.errors import UserError
from ernie_cmtl.scheduling.stages import StageTable


def extending_budgets(
    table: StageTable, task: str, budget: int | None = None, review: float | None = None
) -> dict[str, int]:
    """Return the budgets of a stage that adds a task to a finished run: the last one of the paper's
    table, for one more task.

    In that table the newest of n tasks of N iterations spends all of them in the last stage, and
    each other task the unit N / (n + 1). So for T old tasks the new one gets its whole budget, and
    an old task, whose total is N_j, reviews N_j / (T + 2) iterations: rounded half up, at least 1,
    and on top of what it had.

    budget: iterations of the new task, none: the largest total of an old one; review: part of its
    own total that an old task reviews, none: 1 / (T + 2), 0: no review.

    Raises:
        UserError: The table has the task already, or a budget or share is out of range.
    """
    if task in table.tasks:
        raise UserError(f"task {task!r} is there already; the run has {', '.join(table.tasks)}")
    if budget is not None and budget < 1:
        raise UserError(f"budget {budget} of task {task!r} must be at least 1")
    if review is not None and not 0 <= review < 1:
        raise UserError(f"review {review} must be at least 0 and less than 1")
    # The decimal as it was written: 0.145 of 100 is 14.5, which the nearest float is not.
    share = Fraction(1, len(table.tasks) + 2) if review is None else Fraction(str(review))
    budgets = (
        {old: max(1, floor(total * share + Fraction(1, 2))) for old, total in table.totals.items()}
        if share
        else {}
    )
    budgets[task] = max(table.totals.values()) if budget is None else budget
    return budgets
