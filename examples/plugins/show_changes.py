"""Logs what an upgrade will change, before it does: a diff of each object, without Secrets. With `dryRun` nothing else happens.

Objects that the upgrade deletes are not listed. A value that the API server writes in another form, like 1 for 1000m, is.
"""

import difflib

import yaml

from managedchart_operator.plugin import Action, Lifecycle


class ShowChanges(Lifecycle):
    """Compares what the chart renders with the cluster."""

    async def pre_exec(self, context, payload):
        """Log the differences."""
        if context.action is not Action.DEPLOY:
            return payload
        rendered = await context.release.manifest()
        redact = context.release.redactor(rendered)
        changed = []
        for item in rendered:
            if item["kind"] == "Secret" or not await context.cluster.served_version(item["apiVersion"], item["kind"]):
                continue
            ref = await context.cluster.locate(item, context.release.namespace)
            before = _fields_of(item, await context.cluster.get(ref) or {})
            if lines := list(difflib.unified_diff(_lines(before), _lines(item), "now", "then", n=1, lineterm="")):
                changed.append(str(ref))
                context.logger.info("%s changes:\n%s", ref, redact("\n".join(lines)))
        return {**payload, "changed": changed}


def _fields_of(item, live):
    """Return those fields of the live object that the chart sets: the API server and controllers add others."""
    if isinstance(item, dict) and isinstance(live, dict):
        return {key: _fields_of(value, live[key]) for key, value in item.items() if key in live}
    if isinstance(item, list) and isinstance(live, list) and len(item) == len(live):
        return [_fields_of(*pair) for pair in zip(item, live, strict=True)]
    return live


def _lines(value):
    return yaml.safe_dump(value).splitlines() if value else []
