"""This process among the workers of a run, through accelerate: launched by torchrun, by accelerate,
or alone.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Literal, NoReturn, TypeVar, cast

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import (
    DDPCommunicationHookType,
    DistributedDataParallelKwargs,
    ProjectConfiguration,
)
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel

from ernie_cmtl.atomic_files import file_problems_told
from ernie_cmtl.errors import LostWorkerError, UserError
from ernie_cmtl.model.multitask import MultiTaskModel
from ernie_cmtl.training.device import has_fast_bf16
from ernie_cmtl.training.optimizer import Optimizers
from ernie_cmtl.training.process_group import is_lost_connection, join_group, lost_workers
from ernie_cmtl.training.sharding import Sharding, gradients_kept, shard, whole
from ernie_cmtl.training.trackers import Trackers

Result = TypeVar("Result")
Precision = Literal["auto", "fp32", "bf16"]
ReducePrecision = Literal["fp32", "bf16"]


class Workers:
    """Rank, device and the few collective operations that a step needs."""

    def __init__(
        self,
        precision: Precision = "auto",
        trackers: Sequence[str] = (),
        folder: Path | None = None,
        timeout_seconds: float = 600,
        reduce_precision: ReducePrecision = "fp32",
        sharding: Sharding = "none",
    ) -> None:
        """trackers: as accelerate calls them; folder: of the run, where those that write files do
        so.

        timeout_seconds: after which a worker that waits for another gives up; sharding: full is for
        several workers, one alone has everything.

        Raises:
            UserError: Gradients cannot be reduced in that precision here.
        """
        cpu = not torch.cuda.is_available()
        if cpu and reduce_precision == "bf16":
            raise UserError("training.reduce_precision 'bf16' needs GPUs; accepted here: fp32")
        mixed = "bf16" if precision == "bf16" or (precision == "auto" and has_fast_bf16()) else "no"
        # A process may open one run after another, each in its own precision.
        AcceleratorState._reset_state()
        self._store = join_group(timeout_seconds)
        project = (
            ProjectConfiguration(str(folder), logging_dir=str(folder / "tensorboard"))
            if folder
            else None
        )
        hook = (
            DDPCommunicationHookType.BF16
            if reduce_precision == "bf16"
            else DDPCommunicationHookType.NO
        )
        self._accelerator = Accelerator(
            cpu=cpu,
            mixed_precision=mixed,
            log_with=list(trackers) or None,
            project_config=project,
            kwargs_handlers=[
                DistributedDataParallelKwargs(comm_hook=hook, gradient_as_bucket_view=True)
            ],
        )
        self.trackers = Trackers(self._accelerator)
        self.device: torch.device = self._accelerator.device
        self.rank: int = self._accelerator.process_index
        self.count: int = self._accelerator.num_processes
        self.precision = "bf16" if mixed == "bf16" else "fp32"
        self._shards = sharding == "full" and self.count > 1
        self._reduce_dtype = torch.bfloat16 if reduce_precision == "bf16" else torch.float32
        self.reduces_gradients = True
        """Off only to measure what the reduction costs."""

    @property
    def is_main(self) -> bool:
        """Is this the worker that writes files and prints."""
        return self.rank == 0

    def wrap(self, model: MultiTaskModel) -> nn.Module:
        """Move a model to the device and make it ready for autocast and gradient reduction, in
        copies or in shards.
        """
        if self._shards:
            # The wrapper that keeps copies does so by itself.
            for value in model.state_dict().values():
                self.take_from_main(value)
            # Autocast alone: accelerate's own sharding leaves out workers without GPUs.
            self._accelerator.prepare_model(model, device_placement=False, evaluation_mode=True)
            shard(model, init_device_mesh(self.device.type, (self.count,)), self._reduce_dtype)
            return model
        # The only buffers are constant tables of positions: nothing to broadcast at every forward.
        buffers = [name for name, _ in model.named_buffers()]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, buffers)  # type: ignore[no-untyped-call]
        # Several workers: this is where accelerate wraps the model in DistributedDataParallel.
        return cast(nn.Module, self._accelerator.prepare_model(model))

    @contextmanager
    def gradients(self, model: nn.Module, reduced: bool) -> Iterator[None]:
        """Run forward and backward; reduce the gradients over the workers at the end, or only keep
        them for later.
        """
        if reduced and self.reduces_gradients:
            yield
        else:
            with (
                gradients_kept(model)
                if isinstance(model, FSDPModule)
                else self._accelerator.no_sync(model)
            ):
                yield

    def autocast(self) -> AbstractContextManager[None]:
        """Compute in the run's precision outside the wrapped forward."""
        return cast(AbstractContextManager[None], self._accelerator.autocast())

    def sum(self, values: Tensor) -> Tensor:
        """Sum a tensor over the workers."""
        return cast(Tensor, self._accelerator.reduce(values, "sum")) if self.count > 1 else values

    def sum_on_host(self, values: Tensor) -> Tensor:
        """Sum a tensor of the host's memory over the workers, in place, without waiting for the
        device.
        """
        if self.count > 1:
            torch.distributed.all_reduce(values)
        return values

    def check_same_weights(self, model: nn.Module, optimizer: Optimizers) -> None:
        """Compare the weights of all workers, bit for bit, and how often each weight was updated.

        Of shards there are no copies: those of one weight must have been updated equally often, and
        come together to one whole.

        Raises:
            RuntimeError: They differ; the message names the workers.
        """
        if self.count == 1:
            return
        digest = hashlib.sha256()
        for weight in model.state_dict().values():
            # A view of other elements needs a dimension, which a scalar has not.
            flat = whole(weight.detach()).reshape(-1).cpu()
            digest.update(flat.view(torch.uint8).numpy().tobytes())
        digest.update(
            str([float(state.get("step", 0)) for state in optimizer.state.values()]).encode()
        )
        own = torch.frombuffer(bytearray(digest.digest()), dtype=torch.uint8).to(self.device)
        found = self._accelerator.gather(own[None])
        if others := [rank for rank, row in enumerate(found) if not torch.equal(row, found[0])]:
            raise RuntimeError(
                f"the weights or updates of worker {', '.join(map(str, others))} are not those of "
                "worker 0"
            )

    def texts(self, own: str) -> list[str]:
        """Return a text of each worker, in the order of their ranks."""
        if self.count == 1:
            return [own]
        # In tensors: what torch has for other things unpickles what it is sent.
        data = torch.frombuffer(bytearray(own.encode() or b" "), dtype=torch.uint8)
        lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(self.count)]
        torch.distributed.all_gather(lengths, torch.tensor([len(data)]))
        longest = max(int(length) for length in lengths)
        found = [torch.zeros(longest, dtype=torch.uint8) for _ in range(self.count)]
        torch.distributed.all_gather(found, torch.nn.functional.pad(data, (0, longest - len(data))))
        texts = [
            bytes(text[: int(length)].tolist()).decode()
            for text, length in zip(found, lengths, strict=True)
        ]
        return ["" if text == " " else text for text in texts]

    def from_main(self, read: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return on every worker the tensors that the main one reads, in the memory of its
        machine.
        """
        tensors = read() if self.is_main else {}
        if self.count == 1:
            return tensors
        sizes = {
            name: [str(value.dtype).removeprefix("torch."), list(value.shape)]
            for name, value in tensors.items()
        }
        for name, (kind, shape) in json.loads(self.texts(json.dumps(sizes))[0]).items():
            value = tensors.setdefault(name, torch.empty(shape, dtype=getattr(torch, kind)))
            self.take_from_main(value)
        return tensors

    @staticmethod
    def take_from_main(value: Tensor) -> None:
        """Overwrite a tensor, which is contiguous, by that of the main worker."""
        # As bytes: gloo does not take every dtype.
        torch.distributed.broadcast(value.view(-1).view(torch.uint8), 0)

    def on_each(self, action: Callable[[], Result]) -> Result:
        """Do a thing on every worker, and go on only where all of them could.

        Raises:
            UserError: Some could not; one worker of each machine raises with the reason.
        """
        problem, found = "", None
        try:
            with file_problems_told():
                found = action()
        except UserError as error:
            problem = str(error)
        said = {rank: text for rank, text in enumerate(self.texts(problem)) if text}
        if said:
            rank, reason = next(iter(said.items()))
            self.refuse(problem or f"worker {rank}: {reason}")
        return cast(Result, found)

    def refuse(self, reason: str) -> NoReturn:
        """End all workers alike; to be called by each.

        Raises:
            UserError: With the reason on one worker of each machine.
        """
        speaks = self.is_main or self._accelerator.is_local_main_process
        raise UserError(reason if speaks else f"worker {self.rank} ends with the others")

    def on_main(self, action: Callable[[], object]) -> None:
        """Let the main worker do a thing while the others wait.

        Raises:
            UserError: It could not; every worker raises, the main one with the reason.
        """
        problem: UserError | None = None
        if self.is_main:
            try:
                with file_problems_told():
                    action()
            except UserError as error:
                problem = error
        failed = int(self.sum(torch.tensor(int(problem is not None), device=self.device)))
        if failed:
            raise problem or UserError(f"worker {self.rank} ends: the main worker cannot go on")

    def lost(self, error: RuntimeError, where: str) -> LostWorkerError | None:
        """Return what to raise in place of an error which says that another worker is lost; None
        where it says something else.

        where: in the run. To be called once this worker has left the group, so that those that wait
        for it give up too.
        """
        if self._store is None or not is_lost_connection(error):
            return None
        lost = lost_workers(self._store, self.rank, self.count)
        others = f"worker {', '.join(map(str, lost))}" if lost else "another worker"
        return LostWorkerError(
            f"worker {self.rank} lost {others} at {where}: killed, stopped or not answering; "
            "the same command resumes from the newest checkpoint"
        )

    def close(self) -> None:
        """Close the trackers and leave the process group; the wrapped model must have been let go
        of.

        The wrapper's reducer holds the group too. Where it is the last one to do so, the group is
        torn down while Python's lock is held, and waits for ever for its own threads.
        """
        self._accelerator.free_memory()
        self.trackers.close()
        self._accelerator.end_training()
