"""The plug-in for FiftyOne: a panel of reliability and accuracy against coverage, and the view of the most overconfident mistakes.

FiftyOne finds it by a link from its folder of plug-ins (docs/integrations.md). Importing this module needs fiftyone.
"""

from __future__ import annotations

from typing import Any

try:
    import fiftyone.operators as foo
    import fiftyone.operators.types as types
except ImportError as error:
    raise ImportError("the plug-in for FiftyOne needs it: pip install fiftyone") from error

from emocaliber.errors import UserError
from emocaliber.integrations.fiftyone_views import Judged, coverage_traces, judged, reliability_traces, save_mistakes

# Name, title and what lies across of each plot.
PLOTS = (
    ("reliability", "How often answers are right, at each confidence", "confidence"),
    ("coverage", "How often answers are right, of the most confident share kept", "share of answers kept"),
)
DEFAULTS = {"predicted": "evoked", "truth": "ground_truth", "task": "EmoSet-8"}


class SaveMistakes(foo.Operator):
    """Saves and shows the wrong answers, the most confident first."""

    @property
    def config(self) -> foo.OperatorConfig:
        """How FiftyOne lists it."""
        return foo.OperatorConfig(name="save_overconfident_mistakes", label="Show the most overconfident mistakes", dynamic=True)

    def resolve_input(self, ctx: Any) -> types.Property:
        """The form: which fields, which task, how many."""
        inputs = types.Object()
        for name, value in DEFAULTS.items():
            inputs.str(name, label=name, default=value)
        inputs.int("most", label="how many at most", default=100)
        return types.Property(inputs, view=types.View(label="Most overconfident mistakes"))

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Saves the view and shows it."""
        given = {name: ctx.params.get(name) or value for name, value in DEFAULTS.items()}
        view = save_mistakes(ctx.view, judged(ctx.view, **given), int(ctx.params.get("most") or 100))
        if not ctx.delegated:
            ctx.ops.set_view(view=view)
        return {"samples": len(view)}


class ReliabilityPanel(foo.Panel):
    """Two plots of the samples in view, and a button for their mistakes."""

    @property
    def config(self) -> foo.PanelConfig:
        """How FiftyOne lists it."""
        return foo.PanelConfig(name="emocaliber_reliability", label="Reliability", icon="rule")

    def on_load(self, ctx: Any) -> None:
        """Starts with the usual names of the fields."""
        for name, value in DEFAULTS.items():
            if not ctx.panel.get_state(f"form.{name}"):
                ctx.panel.set_state(f"form.{name}", value)
        self.show(ctx)

    def on_change_view(self, ctx: Any) -> None:
        """Counts again where the samples in view change."""
        self.show(ctx)

    def show(self, ctx: Any) -> None:
        """Judges the samples in view, and puts the plots and a sentence into the panel."""
        try:
            found = self._judged(ctx)
        except UserError as error:
            ctx.panel.set_state("summary", f"**{error}**")
            return
        ctx.panel.set_state("summary", found.summary())
        ctx.panel.set_data("reliability", reliability_traces(found) if found.ids else [])
        ctx.panel.set_data("coverage", coverage_traces(found) if found.ids else [])

    def mistakes(self, ctx: Any) -> None:
        """Saves the mistakes as a view, and shows them."""
        try:
            ctx.ops.set_view(view=save_mistakes(ctx.view, self._judged(ctx)))
        except UserError as error:
            ctx.panel.set_state("summary", f"**{error}**")

    def render(self, ctx: Any) -> types.Property:
        """The form, the sentence, the plots and the button."""
        panel = types.Object()
        form = types.Object()
        for name, value in DEFAULTS.items():
            form.str(name, label=name, default=value, on_change=self.show)
        panel.define_property("form", form, view=types.GridView(orientation="horizontal"))
        panel.str("summary", view=types.MarkdownView(read_only=True))
        panel.btn("mistakes", label="Show the most overconfident mistakes", on_click=self.mistakes)
        for name, title, across in PLOTS:
            panel.md(f"**{title}**", name=f"{name}_title")
            layout = {
                "xaxis": {"range": [0, 1], "title": {"text": across}},
                "yaxis": {"range": [0, 1.02], "title": {"text": "accuracy"}},
                "margin": {"t": 10, "r": 10, "b": 45, "l": 55},
                "showlegend": False,
            }
            panel.plot(name, layout=layout, height=270, config={"displayModeBar": False})
        return types.Property(panel)

    def _judged(self, ctx: Any) -> Judged:
        return judged(ctx.view, **{name: ctx.panel.get_state(f"form.{name}") or value for name, value in DEFAULTS.items()})


def register(plugin: Any) -> None:
    """Called by FiftyOne."""
    plugin.register(SaveMistakes)
    plugin.register(ReliabilityPanel)
