"""The training samples of every stage, and how a ledger counts what was taken of them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from ernie_cmtl.data.packing import StepPlan, plan_step
from ernie_cmtl.data.step_shape import DataConfig
from ernie_cmtl.data.streams import SampleStream
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import Ledger
from ernie_cmtl.task_instance import TaskInstance

Cut = tuple[int, int]
"""Number of a task instance and the length that its samples are cut to: one stream, counted as one
in a ledger.
"""


@dataclass(frozen=True)
class StageData:
    """What the steps of a stage are made of."""

    config: DataConfig
    streams: Mapping[int, SampleStream]
    """Number of each task of the stage -> its samples, cut for the rows of the stage."""
    counts: Sequence[int]
    """Task instance -> place of its stream in the ledger's `samples`."""

    def plan(self, shares: Sequence[float], ledger: Ledger) -> StepPlan:
        """Fill the rows of a step; ledger: before it."""
        own = replace(ledger, samples=tuple(ledger.samples[place] for place in self.counts))
        plan = plan_step(self.streams, shares, own, self.config.rows, self.config.row_length)
        samples = list(ledger.samples)
        for place, number in zip(self.counts, plan.ledger.samples, strict=True):
            samples[place] = number
        return StepPlan(plan.rows, replace(plan.ledger, samples=tuple(samples)))


@dataclass(frozen=True)
class StageStreams:
    """The streams of a run, each opened when a stage first asks for it, and the ledger's
    bookkeeping.
    """

    instances: Sequence[TaskInstance]
    shapes: Sequence[DataConfig]
    """Shape of the steps of each stage."""
    served: Sequence[Collection[str]]
    """Names of the instances that each stage serves."""
    ends: Sequence[int]
    """Steps completed at the end of each stage."""
    open_stream: Callable[[TaskInstance, int], SampleStream]
    """Opens the training samples of an instance, of at most so many tokens."""

    @cached_property
    def _places(self) -> dict[Cut, int]:
        """Place of each stream in the ledger's `samples`."""
        lengths = [shape.longest for shape in self.shapes]
        cuts = dict.fromkeys(
            _cut(instance, length) for length in lengths for instance in self.instances
        )
        return {cut: place for place, cut in enumerate(cuts)}

    @cached_property
    def _opened(self) -> dict[Cut, SampleStream]:
        """Streams that some step asked for."""
        return {}

    def of_steps(self, first: int, last: int) -> dict[int, StageData]:
        """Return what the stages of the steps first..last-1 are made of, by their number."""
        found: dict[int, StageData] = {}
        for number, (shape, served, end) in enumerate(
            zip(self.shapes, self.served, self.ends, strict=True)
        ):
            begin = self.ends[number - 1] if number else 0
            if end <= first or begin >= last:
                continue
            cuts = [_cut(instance, shape.longest) for instance in self.instances]
            for instance, cut in zip(self.instances, cuts, strict=True):
                if instance.name in served and cut not in self._opened:
                    self._opened[cut] = self.open_stream(instance, shape.longest)
            streams = {
                task: self._opened[cut] for task, cut in enumerate(cuts) if cut in self._opened
            }
            found[number] = StageData(shape, streams, [self._places[cut] for cut in cuts])
        return found

    def first_ledger(self) -> Ledger:
        """Return the ledger before the first step."""
        tasks = len(self.instances)
        return Ledger(0, (0,) * len(self._places), (0,) * tasks, (0.0,) * tasks, (0.0,) * tasks)

    def longer_ledger(self, ledger: Ledger, before: "StageStreams") -> Ledger:
        """Return the ledger of a run to which stages were added; nothing was taken of what came
        with them.

        before: the streams that the ledger counts.

        Raises:
            UserError: It counts others.
        """
        tasks = len(before.instances)
        counts = (len(ledger.tokens), len(ledger.planned), len(ledger.iterations))
        numbers = (*ledger.samples, *ledger.tokens, *ledger.planned, *ledger.iterations)
        # Not a number is not 0 or more either.
        fits = all(number >= 0 for number in (ledger.step, *numbers))
        if counts != (tasks,) * 3 or len(ledger.samples) != len(before._places) or not fits:
            raise UserError(
                f"the checkpoint counts {counts[0]} tasks and {len(ledger.samples)} streams; the "
                f"run has {tasks} and {len(before._places)}, and no count is below 0"
            )
        taken = dict(zip(before._places, ledger.samples, strict=True))
        samples = tuple(taken.get(cut, 0) for cut in self._places)
        added = len(self.instances) - len(before.instances)
        planned, iterations = (
            numbers + (0.0,) * added for numbers in (ledger.planned, ledger.iterations)
        )
        return Ledger(ledger.step, samples, ledger.tokens + (0,) * added, planned, iterations)

    def samples_by_task(self, ledger: Ledger) -> dict[str, int]:
        """Return the samples taken from each task, of whatever length they were cut to."""
        found = {instance.name: 0 for instance in self.instances}
        for (task, _), samples in zip(self._places, ledger.samples, strict=True):
            found[self.instances[task].name] += samples
        return found


def _cut(instance: TaskInstance, longest: int) -> Cut:
    # A task whose samples are shorter than what two stages have room for goes on in the second
    # where it was.
    return instance.row, min(longest, instance.task.options.maximum_length or longest)
