"""What a network in bf16 needs to know of the maps inside it, looked up once on a likely picture."""

from contextlib import contextmanager

import torch
from torch import fx, nn

from torch_models.bf16 import SIDE, form_of, likely_picture, moments_of, nearness_of
from torch_models.graph import called, only_user
from torch_models.layers import Conv


@contextmanager
def in_float32(found):
    """Inside, the convolutions of {node: `Convolution`} compute in float32."""
    kinds = [(one.conv, one.conv.precision) for one in found.values()]
    try:
        for conv, _ in kinds:
            conv.precision = torch.float32
        yield
    finally:
        for conv, kind in kinds:
            conv.precision = kind


class Calibration(fx.Interpreter):
    """One run of a network in float32, in which is looked up, by nodes of its graph:

    forms: the `Form` of maps that a convolution without padding reads, as the zeros of padding would not be zeros in
        another form, and only where less is lost by it in the end.
    near: the `Nearness` of a picture that a convolution draws block by block, None where it is not near the small one.
    moments: of what a convolution without padding reads, in its form.

    parts: {name: layer} and found: {node: `Convolution`}, as `graph_of` gives them. All three are empty for a network
    that does not compute in bf16, and take no run where there is nothing to look up.
    """

    def __init__(self, model, spec, graph, parts, found):
        super().__init__(model, garbage_collect_values=False, graph=graph)
        self.forms, self.near, self.moments = {}, {}, {}
        self._model, self._spec, self._found = model, spec, found
        kinds = {node: one.conv.precision for node, one in found.items()}
        if torch.bfloat16 not in kinds.values():
            return
        low = {node for node, kind in kinds.items() if kind == torch.bfloat16}
        self._storing = {found[node].last: found[node].pointwise for node in low if self._may_be_formed(node, parts)}
        self._drawing = {node for node, one in found.items() if one.picture}
        self._reading = {node for node in low | self._drawing if not found[node].conv.padding[0]}
        if not (self._storing or self._drawing or self._reading):
            return
        drawn = SIDE // 2 + 2 * spec.margin  # so that half of it is drawn, whatever the network cuts off
        self._given = likely_picture(spec.inputs, max(SIDE, -(-drawn // spec.grid) * spec.grid))
        with in_float32(found):
            self._exact = fx.Interpreter(model, graph=graph).run(self._given) if self._storing else None
            self.run(self._given)

    def run_node(self, node):
        result = super().run_node(node)
        if node in self._storing:
            self._look_up_form(node, result)
        if node in self._drawing:
            self._look_up_nearness(node, result)
        if node in self._reading:
            form, maps = self.forms.get(node.args[0]), self.env[node.args[0]]
            self.moments[node] = moments_of(form.stored(maps) if form else maps, self._found[node].conv.kernel_size[0])
        return result

    def _may_be_formed(self, node, parts):
        one = self._found[node]
        reader = called(only_user(one.last), parts)
        return one.pointwise != "none" and type(reader) is Conv and not reader.padding[0]

    def _look_up_form(self, node, result):
        form = form_of(self._storing[node], result)
        plain, formed = (
            self._error_of(node, maps) for maps in (result.to(torch.bfloat16).to(result.dtype), form.kept(result))
        )
        if formed < plain:
            self.forms[node] = form

    def _error_of(self, node, maps):
        """Mean squared error of what the network draws with `maps` as the result of a node."""
        env = {**self.env, node: maps}
        drawn = fx.Interpreter(self._model, graph=self.graph).run(self._given, initial_env=env)
        return (drawn - self._exact).square().mean()

    def _look_up_nearness(self, node, result):
        spec, one = self._spec, self._found[node]
        maps = nn.functional.pixel_unshuffle(result, one.factor) if one.picture is node else result
        first = spec.frames // 2 * spec.channels
        self.near[node] = nearness_of(self._given, maps, slice(first, first + spec.channels))
