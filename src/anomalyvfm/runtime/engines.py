"""Graphs run by onnxruntime or OpenVINO, on the CPU: uint8 images in, arrays by name out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count, cycle, islice, takewhile
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from anomalyvfm.data.placing import InputFrame
from anomalyvfm.errors import InputError
from anomalyvfm.runtime.manifest import LIGHT, SCORES, SUMMARY, TAKEN_IN, patches_name, view_name

Outputs = dict[str, NDArray[np.float32]]
# Of these what there is. Maps are made from grids, where they are looked at.
_WANTED = (*SCORES, LIGHT, SUMMARY)

# Images that a core takes through onnxruntime at once: the scorer's statistics, larger than any cache, then
# go through memory once for them. More bring little, and the backbone's maps of all are held.
_A_CORE = 4
# Images of a side that go through OpenVINO's scorer at once; of smaller ones up to so many times as many.
_TOGETHER, _SIDE, _SMALLER = 8, 512, 4


class Engine(Protocol):
    """Runs a graph; ``together`` images a call are fastest, and ``calls`` may be under way at once.

    Where it takes ``views`` they are images as the backbone sees them, an array for each scale; else they
    are whole, in one array.
    """

    together: int
    calls: int
    views: bool

    def begin(self, images: Sequence[NDArray[np.uint8]]) -> Callable[[], Outputs]:
        """Start on images, (B, H, W, 3) each; the result is had by calling what is returned, in order."""


class OnnxEngine:
    """One session that each core runs on images of its own: no operation waits for another's threads."""

    calls = 2  # the next images lie ready when some are done
    views = False

    def __init__(self, path: Path, threads: int) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise InputError(
                f"{path}: needs onnxruntime, which is not installed: pip install onnxruntime"
            ) from None
        self.together = _A_CORE * threads
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4  # what goes wrong is raised, and said in one line
        self._only_wanted = onnxruntime.RunOptions()
        self._only_wanted.only_execute_path_to_fetches = True
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own types, one for each of its status codes
            raise _unloadable(path, "onnxruntime", onnxruntime.__version__, error) from None
        there = {output.name for output in self._session.get_outputs()}
        self._wanted = [name for name in _WANTED if name in there]
        self._threads = threads
        self._cores = ThreadPoolExecutor(threads, thread_name_prefix="onnxruntime")

    def begin(self, images: Sequence[NDArray[np.uint8]]) -> Callable[[], Outputs]:
        (whole,) = images
        parts = np.array_split(whole, min(self._threads, len(whole)))
        runs = [self._cores.submit(self._run, part) for part in parts]

        def wait() -> Outputs:
            results = zip(*(run.result() for run in runs), strict=True)
            return {name: np.concatenate(parts) for name, parts in zip(self._wanted, results, strict=True)}

        return wait

    def _run(self, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        results: list[NDArray[np.float32]] = self._session.run(
            self._wanted, {"images": images}, self._only_wanted
        )
        return results


class OpenVinoEngine:
    """The graph in two: features of images one by one, each on one core, and the scores of many at once.

    No layer of the backbone then waits for another core, and its maps stay in the caches; while the scorer's
    statistics, which are larger than any cache, go through memory once for all images of a call. Of images
    of 512 px a call has eight, of smaller ones more.

    Given the ``sizes`` of the views, it takes these: Pillow makes them in a third of the graph's time.
    Not where the light is judged, for that is told by the whole image.
    """

    calls = 2  # the next images' features are under way while these are scored

    def __init__(
        self, path: Path, threads: int, frame: InputFrame, sizes: Sequence[tuple[int, int]] = ()
    ) -> None:
        try:
            import openvino
        except ImportError:
            raise InputError(
                f"{path}: needs OpenVINO, which is not installed: pip install openvino"
            ) from None
        self._frame = (frame.height, frame.width)
        self.together = round(_TOGETHER * min(_SMALLER, max(1.0, _SIDE**2 / (frame.height * frame.width))))
        self._core = openvino.Core()
        self._path = path
        try:
            graph = self._read()
            self._features = _features_in(graph)
            self._scores = (*SCORES, LIGHT) if TAKEN_IN in self._features else SCORES
            scoring, shapes = _scoring(graph, self._features, self._scores, self.together, self._frame)
            self._scorer = self._compiled(scoring, 1).create_infer_request()
            # Of each call what its images' requests write, and the scorer reads.
            self._written = cycle(
                [np.empty((self.together, *shape), np.float32) for shape in shapes] for _ in range(self.calls)
            )
            self.views = bool(sizes) and TAKEN_IN not in self._features
            seeing = _seeing(self._read(), self._features, self._frame, sizes if self.views else ())
            compiled = self._compiled(seeing, threads)
            requests = self.calls * self.together
            self._requests = cycle([compiled.create_infer_request() for _ in range(requests)])
        except RuntimeError as error:
            raise _unloadable(path, "OpenVINO", openvino.__version__, error) from None

    def begin(self, images: Sequence[NDArray[np.uint8]]) -> Callable[[], Outputs]:
        requests = list(islice(self._requests, len(images[0])))
        written = dict(zip(self._features, next(self._written), strict=True))
        for row, request in enumerate(requests):
            for name, values in written.items():
                request.set_tensor(name, self._tensor(values[row : row + 1]))
            given = {number: view[row : row + 1] for number, view in enumerate(images)}
            request.start_async(given, share_inputs=True)

        def wait() -> Outputs:
            for request in requests:
                request.wait()
            for name, values in written.items():
                self._scorer.set_tensor(f"{name}_input", self._tensor(values[: len(requests)]))
            self._scorer.infer()
            found = {name: self._scorer.get_tensor(name).data for name in self._scores}
            found[SUMMARY] = written[SUMMARY][: len(requests)]
            return {name: values.copy() for name, values in found.items()}

        return wait

    @staticmethod
    def _tensor(values: NDArray[np.float32]) -> Any:
        """An array as what requests read and write, not copied."""
        import openvino

        return openvino.Tensor(values, shared_memory=True)

    def _read(self) -> Any:
        return self._core.read_model(self._path)

    def _compiled(self, graph: Any, cores: int) -> Any:
        settings = {
            "NUM_STREAMS": cores,
            "INFERENCE_NUM_THREADS": cores,
            "INFERENCE_PRECISION_HINT": "f32",  # newer processors would be given bf16
            "ENABLE_CPU_PINNING": False,  # two processes would be pinned to the same core
        }
        return self._core.compile_model(graph, "CPU", settings)


def _scoring(
    graph: Any, names: Sequence[str], wanted: Sequence[str], most: int, size: tuple[int, int]
) -> tuple[Any, list[tuple[int, ...]]]:
    """The graph from the features of at most so many images, seen on a frame of that size, to their scores.

    And the shape of each of the features of one image.
    """
    import openvino
    from openvino import opset13 as ops

    graph.reshape(openvino.PartialShape([openvino.Dimension(1, most), *size, 3]))
    features, shapes = [], []
    for name in names:
        found = _named(graph, name)
        shape = found.get_partial_shape()
        feature = ops.parameter(shape, np.float32)
        shapes.append(tuple(side.get_length() for side in list(shape)[1:]))
        for reader in found.get_target_inputs():
            reader.replace_source_output(feature.output(0))
        feature.output(0).set_names({f"{name}_input"})
        features.append(feature)
    scores = [graph.output(name).get_node().input(0).get_source_output() for name in wanted]
    # The images are left over as what tells shapes, known by now.
    return openvino.Model(scores, [*graph.get_parameters(), *features], "scoring"), shapes


def _features_in(graph: Any) -> tuple[str, ...]:
    """The names of the features in a graph."""
    inside = {name for node in graph.get_ops() for output in node.outputs() for name in output.get_names()}
    scales = takewhile(inside.__contains__, map(patches_name, count()))
    return (*scales, SUMMARY, *inside.intersection([TAKEN_IN]))


def _named(graph: Any, name: str) -> Any:
    """What bears a name in the graph, inside it."""
    inside = (node for node in graph.get_ops() if node.get_type_name() != "Result")
    return next(output for node in inside for output in node.outputs() if name in output.get_names())


def _seeing(
    graph: Any, names: Sequence[str], frame: tuple[int, int], sizes: Sequence[tuple[int, int]]
) -> Any:
    """The graph to the features of images, whole, or of one as it is seen, (1, h, w, 3) at each size."""
    import openvino
    from openvino import opset13 as ops

    if sizes:
        graph.reshape([1, *frame, 3])
    views = []
    for number, size in enumerate(sizes):
        view = ops.parameter([1, *size, 3], np.uint8)
        planes = ops.transpose(ops.convert(view, "f32"), [0, 3, 1, 2])
        for reader in _named(graph, view_name(number)).get_target_inputs():
            reader.replace_source_output(planes.output(0))
        views.append(view)
    found = [_named(graph, name) for name in names]
    return openvino.Model(found, views or graph.get_parameters(), "seeing")


def _unloadable(path: Path, engine: str, version: str, error: Exception) -> InputError:
    reason = " ".join(str(error).split())
    return InputError(
        f"{path}: {engine} {version} cannot load it ({reason[-200:]}); upgrade {engine} or export anew"
    )
