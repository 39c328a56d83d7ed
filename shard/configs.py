"""Configs: YAML with inheritance and `--set`, validated whole before anything is written."""

from __future__ import annotations

import hashlib
import json
import math
import re
import stat
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .context import model_fields, study_module
from .errors import Exit, QuintetError
from .run import valid_name

if TYPE_CHECKING:
    from .phases import Phase

MAX_CONFIG_BYTES = 1 << 20
MAX_NODES = 100_000
MAX_DEPTH = 32
MAX_INTEGER_BITS = 128
EXPONENT = r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)[eE][-+]?[0-9]+"
PARTITIONS = r"[A-Za-z0-9_][A-Za-z0-9_.:@+-]*(,[A-Za-z0-9_][A-Za-z0-9_.:@+-]*)*"
RESOURCE_KEYS: dict[str, tuple[type, float]] = {
    "shards": (int, 1),
    "target_minutes": (float, 0.001),
    "checkpoint_s": (float, 0.0),
    "mem_mb": (int, 1),
    "time_s": (int, 1),
    "cpus": (int, 1),
    "gpus": (int, 0),
    "threads": (int, 1),
    "max_array": (int, 1),
}


def bad(source: str, key: str, found: Any, allowed: str) -> QuintetError:
    """Return the error of a bad value: file, key, value found, what is allowed."""
    return QuintetError(Exit.USAGE, f"{source}: {key}: found {shortened(found)}; allowed is {allowed}")


def shortened(value: Any) -> str:
    """Return a value's text, cut where it is long."""
    try:
        text = repr(value)
    except ValueError:  # a number of thousands of digits
        text = f"a very long {type(value).__name__}"
    return text if len(text) <= 80 else text[:77] + "..."


def count_nodes(value: Any, source: str, depth: int = 0, budget: list[int] | None = None) -> None:
    """Refuse a document that is too deep or, with its aliases expanded, too large."""
    budget = [MAX_NODES] if budget is None else budget
    budget[0] -= 1
    if budget[0] < 0 or depth > MAX_DEPTH:
        raise QuintetError(Exit.USAGE, f"{source}: more than {MAX_NODES} values or {MAX_DEPTH} levels")
    children: Iterable[Any] = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for child in children:
        count_nodes(child, source, depth + 1, budget)


@cache
def loader_class() -> Any:
    """Return PyYAML's safe loader with the exponents of YAML 1.2: `1e-3` is a number as `1.0e-3` is."""
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(f"(?:{EXPONENT})\\Z"), list("-+.0123456789"))
    return Loader


def repeated_key(document: Any) -> str | None:
    """Return a key that stands twice in one mapping of a composed document; PyYAML would take the last of them."""
    import yaml

    seen: set[int] = set()
    waiting = [document]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
            waiting += [value for _, value in node.value]
            if keys and max(keys.values()) > 1:
                return str(keys.most_common(1)[0][0])
    return None


def parsed(text: str, source: str) -> Any:
    """Return what a YAML text says; exit 2 where it is none, or too deep or too large with its aliases expanded.

    Sizes are counted on the events of the parser: merging aliased mappings (`<<`) would fill the memory before there
    is a value to be counted.
    """
    import yaml

    sizes: dict[str | None, int] = {}
    standing: list[tuple[str | None, int]] = [(None, 0)]
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            anchor, size = None, 0
            if isinstance(event, yaml.events.CollectionStartEvent):
                standing.append((event.anchor, 1))
            elif isinstance(event, yaml.events.CollectionEndEvent):
                anchor, size = standing.pop()
                sizes[anchor] = size
            elif isinstance(event, yaml.events.NodeEvent):
                size = sizes.get(event.anchor, 1) if isinstance(event, yaml.events.AliasEvent) else 1
            standing[-1] = (standing[-1][0], standing[-1][1] + size)
            if standing[-1][1] > MAX_NODES or len(standing) > MAX_DEPTH + 2:
                raise QuintetError(Exit.USAGE, f"{source}: more than {MAX_NODES} values or {MAX_DEPTH} levels")
        loader = loader_class()(text)
        document = loader.get_single_node()
        repeated = repeated_key(document)
        data = None if document is None else loader.construct_document(document)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise QuintetError(Exit.USAGE, f"{source}: not YAML: {' '.join(str(error).split())[:200]}") from None
    if repeated:
        raise QuintetError(Exit.USAGE, f"{source}: {shortened(repeated)[1:-1]}: stands there twice; allowed is once")
    count_nodes(data, source)
    return data


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML mapping with text keys; exit 2 for anything else."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise QuintetError(Exit.USAGE, f"{path}: a config is a regular file")
        if found.st_size > MAX_CONFIG_BYTES:
            raise QuintetError(Exit.USAGE, f"{path}: {found.st_size} bytes; a config has at most {MAX_CONFIG_BYTES}")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise QuintetError(Exit.USAGE, f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise QuintetError(Exit.USAGE, f"{path}: not UTF-8 text") from None
    data = parsed(text, str(path))
    if not isinstance(data, dict):
        raise QuintetError(Exit.USAGE, f"{path}: found {type(data).__name__}; a config is a mapping")
    return data


def merged_over(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with the values of `over`, mappings merged key by key."""
    result = dict(base)
    for key, value in over.items():
        inner = result.get(key)
        result[key] = merged_over(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return result


def is_below(name: str) -> bool:
    """Whether a path that stands in a config is relative and stays below the config's folder."""
    path = Path(name)
    return name.isprintable() and bool(name) and not path.is_absolute() and ".." not in path.parts


def with_templates(path: Path, seen: tuple[Path, ...] = ()) -> list[tuple[Path, dict[str, Any]]]:
    """Read a config and the templates that it names, nearest first."""
    resolved = path.resolve()
    if resolved in seen:
        raise QuintetError(Exit.USAGE, f"{path}: template: the files name each other in a circle")
    data = read_yaml(path)
    template = data.pop("template", None)
    if template is None:
        return [(path, data)]
    if not isinstance(template, str) or not is_below(template):
        raise bad(str(path), "template", template, "the name of a YAML file beside this one or below")
    return [(path, data), *with_templates(path.parent / template, (*seen, resolved))]


def load(path: Path) -> dict[str, Any]:
    """Read a config with the templates that it names."""
    config: dict[str, Any] = {}
    for _, data in reversed(with_templates(path)):
        config = merged_over(config, data)
    return config


def loaded(path: Path, settings: Sequence[str]) -> tuple[dict[str, Any], str]:
    """Return a config with its templates, its settings and what its study reads beside it, and the study's name."""
    config = load(path)
    apply_settings(config, settings)
    study = study_of(config, path)
    completed = getattr(study_module(study), "completed", None)
    if completed is not None:
        said: dict[str, Any] = {}
        apply_settings(said, settings)
        files = with_templates(path)
        for setting in settings:  # a setting replaces, where a nearer file would be merged
            files = [(file, without(data, setting.partition("=")[0])) for file, data in files]
        config = completed(files, said)
    return config, study


def apply_settings(config: dict[str, Any], settings: Sequence[str]) -> None:
    """Apply `key.path=value` settings in place; values are YAML."""
    for setting in settings:
        key, separator, text = setting.partition("=")
        path = key.split(".")
        if not separator or not all(path):
            raise QuintetError(Exit.USAGE, f"--set: found {setting!r}; allowed is KEY.PATH=VALUE")
        value = parsed(text, f"--set {shortened(key)[1:-1]}")
        place = config
        for part in path[:-1]:
            inner = place.setdefault(part, {})
            if not isinstance(inner, dict):
                raise QuintetError(Exit.USAGE, f"--set {key}: {part!r} is a value, not a section")
            place = inner
        place[path[-1]] = value


def find_config(name: str, project: Path) -> Path:
    """Return the config named by a path, or by `study/name` below the shipped configs."""
    path = Path(name)
    if path.exists():
        return path
    shipped = project / "configs" / name
    for candidate in (shipped, shipped.with_suffix(".yaml")):
        if candidate.is_file() and candidate.resolve().is_relative_to((project / "configs").resolve()):
            return candidate
    raise QuintetError(Exit.USAGE, f"{name}: no such config file, nor one below {project / 'configs'}")


def study_name(config: Mapping[str, Any]) -> Any:
    """Return what a config's key `study` names: its text, or the key `name` of a section that a study has there."""
    study = config.get("study")
    return study.get("name") if isinstance(study, Mapping) else study


def study_of(config: Mapping[str, Any], path: Path) -> str:
    """Return the study that a config belongs to: its key `study`, else the folder below `configs/`."""
    study = study_name(config)
    if study is None:
        parts = path.resolve().parts
        if "configs" not in parts[:-2]:
            raise bad(str(path), "study", None, "the name of a study (or a file below configs/<study>/)")
        study = parts[len(parts) - 1 - parts[::-1].index("configs") + 1]
    section = isinstance(config.get("study"), Mapping)
    if not isinstance(study, str) or (section and "study" not in model_fields(study)):
        raise bad(str(path), "study", config.get("study"), "the name of a study")
    return valid_name(study, f"{path}: study")


def validated(config: dict[str, Any], study: str, source: str) -> tuple[dict[str, Any], tuple[Phase, ...]]:
    """Return the resolved config (plain JSON values, defaults filled in) and its table of phases."""
    from pydantic import ValidationError

    module = study_module(study)
    science, machinery = split(config, study)
    try:
        model = module.Config(**science)
    except ValidationError as error:
        raise QuintetError(Exit.USAGE, "; ".join(validation_lines(error, source, module.Config))) from None
    except TypeError:
        raise QuintetError(Exit.USAGE, f"{source}: the keys of a config are text") from None
    resolved_by_study = getattr(module, "resolved", None)
    if resolved_by_study is not None:
        model = resolved_by_study(model)
    phases = module.phases(model)
    check_machinery(machinery, phases, source)
    resolved = {"study": study, **machinery, **model.model_dump(mode="json")}
    check_numbers(resolved, source)
    return resolved, phases


def check_numbers(value: Any, source: str, key: str = "") -> None:
    """Refuse what canonical JSON, and so the config hash, cannot hold: infinities, NaN, integers without bound."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in items:
        check_numbers(child, source, f"{key}.{name}" if key else str(name))
    if isinstance(value, float) and not math.isfinite(value):
        raise bad(source, key, value, "a finite number")
    if isinstance(value, int) and value.bit_length() > MAX_INTEGER_BITS:
        raise bad(source, key, value, f"an integer of at most {MAX_INTEGER_BITS} bits")


def split(config: Mapping[str, Any], study: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a study's model takes, and what the machinery keeps: phases, and seed and inputs by default."""
    fields = model_fields(study)
    kept = {"phases", "seed", "inputs"} - fields
    machinery = {"phases": {}, "seed": 0, "inputs": {}}
    machinery = {key: config.get(key, default) for key, default in machinery.items() if key in kept}
    named = set() if isinstance(config.get("study"), Mapping) and "study" in fields else {"study"}
    return {key: value for key, value in config.items() if key not in kept | named}, machinery


def validation_lines(error: Any, source: str, model: Any) -> list[str]:
    """Return one line per failed field of a config model."""
    lines, items = [], error.errors()
    inner = {item["loc"][:-1] for item in items if item["loc"]}
    for item in items[:5]:
        if item["type"] == "too_short" and item["loc"] in inner:  # only since its bad members do not count
            continue
        key = ".".join(str(part) for part in item["loc"]) or "config"
        if item["type"] == "extra_forbidden":
            lines.append(f"{source}: {key}: unknown key{nearest(model, item['loc'])}")
        elif item["type"] == "missing":
            lines.append(f"{source}: {key}: missing")
        elif isinstance(item["input"], dict) and item["type"] == "value_error":  # of a section as a whole
            lines.append(f"{source}: {key}: {item['msg'].removeprefix('Value error, ')}")
        else:
            lines.append(f"{source}: {key}: found {shortened(item['input'])}; {item['msg']}")
    return lines


def nearest(model: Any, place: Sequence[Any]) -> str:
    """Return which key of a config model an unknown one at `place` may have meant; empty where none is near."""
    from difflib import get_close_matches
    from typing import get_args

    for part in place[:-1]:
        if isinstance(part, str) and part in getattr(model, "model_fields", {}):
            model = model.model_fields[part].annotation
        while not hasattr(model, "model_fields") and get_args(model):
            model = next((item for item in get_args(model) if item is not type(None)), None)
    near = get_close_matches(str(place[-1]), getattr(model, "model_fields", {}), 1)
    return f"; did you mean {near[0]}?" if near else ""


def check_machinery(config: Mapping[str, Any], phases: Sequence[Phase], source: str) -> None:
    """Refuse bad values in `phases:`, `seed` and `inputs`."""
    names = [valid_name(phase.name, "phase") for phase in phases]
    sections = config["phases"]
    if not isinstance(sections, dict):
        raise bad(source, "phases", sections, "a mapping of phase names")
    for name, section in sections.items():
        if name not in names:
            raise bad(source, "phases", name, f"one of {', '.join(names)}")
        if not isinstance(section, dict):
            raise bad(source, f"phases.{name}", section, "a mapping")
        for key, value in section.items():
            if key == "partition":
                if not isinstance(value, str) or not re.fullmatch(PARTITIONS, value):
                    raise bad(source, f"phases.{name}.partition", value, "names with commas between them")
                continue
            if key not in RESOURCE_KEYS:
                raise bad(source, f"phases.{name}", key, f"one of {', '.join([*RESOURCE_KEYS, 'partition'])}")
            kind, least = RESOURCE_KEYS[key]
            good = isinstance(value, int if kind is int else (int, float)) and not isinstance(value, bool)
            if not good or not least <= value < 1e12:
                raise bad(source, f"phases.{name}.{key}", value, f"{kind.__name__} >= {least:g}")
    seed = config.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**64:
        raise bad(source, "seed", seed, "an integer from 0 to 2^64-1")
    inputs = config.get("inputs", {})
    if not isinstance(inputs, dict) or not all(isinstance(value, str) for value in inputs.values()):
        raise bad(source, "inputs", inputs, "a mapping of names to paths")


def canonical(value: Any) -> bytes:
    """Return canonical JSON: sorted keys, no spaces, floats by repr."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def without(config: Mapping[str, Any], dotted: str) -> dict[str, Any]:
    """Return a config without one dotted key."""
    head, _, rest = dotted.partition(".")
    result = dict(config)
    if not rest:
        result.pop(head, None)
    elif isinstance(result.get(head), dict):
        result[head] = without(result[head], rest)
    return result


def value_of(config: Mapping[str, Any], dotted: str) -> Any:
    """Return a config's section, or a value in it; None where there is none."""
    head, _, rest = dotted.partition(".")
    found = config.get(head)
    return value_of(found or {}, rest) if rest else found


def counted_sections(config: Mapping[str, Any], phases: Sequence[Phase], phase: Phase) -> dict[str, Any]:
    """Return what a phase's config hash covers: the sections it reads and those of the phases it comes after."""
    by_name = {item.name: item for item in phases}
    lineage: dict[str, Phase] = {}
    waiting = [phase]
    while waiting:
        item = waiting.pop()
        if item.name not in lineage:
            lineage[item.name] = item
            waiting += [by_name[name] for name in item.after]
    reduced: Mapping[str, Any] = config
    for item in lineage.values():
        if item.grows:
            reduced = without(reduced, item.grows)
    sections = {key: value_of(reduced, key) for item in lineage.values() for key in item.reads}
    threads = config["phases"].get(phase.name, {}).get("threads", 1)
    return {
        "sections": sections,
        "phase": phase.name,
        "study": study_name(config),
        "seed": config["seed"],
        "threads": threads,
    }


def config_sha256(config: Mapping[str, Any], phases: Sequence[Phase], phase: Phase) -> str:
    """Return the config hash of one phase."""
    return hashlib.sha256(canonical(counted_sections(config, phases, phase))).hexdigest()
