"""Loads the settings from an INI file, the environment and arguments, and reports every problem at once.

Arguments override the environment (``ECHOIC_PORT``), which overrides the file.
"""

from __future__ import annotations

import configparser
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path

from pydantic import ValidationError

from echoic.quotas.tiers import parse_tier_overrides, parse_tier_setting
from echoic.server.settings.groups import ENV_PREFIX, FOREIGN_ENV_NAMES, SECTIONS, SETTINGS, Settings
from echoic.server.settings.validate import find_conflicts

_QUOTA_SECTION = SECTIONS["quota"].name


class SettingsError(Exception):
    """Raised for settings that cannot be used.

    Args:
        problems: One sentence for each problem, all of them.
        usable_settings: The settings without the values that cannot be used.
    """

    def __init__(self, problems: Iterable[str], usable_settings: Settings) -> None:
        self.problems = tuple(problems)
        self.usable_settings = usable_settings
        super().__init__(
            "\n".join(("The settings cannot be used:", *(f"- {line}" for line in self.problems)))
        )


def load_settings(config_file: Path | None, env: Mapping[str, str], **overrides: object) -> Settings:
    """Return the settings from a file, the environment and arguments.

    Args:
        config_file: An INI file, or None.
        env: The environment; an empty value counts as not set.
        **overrides: Settings by name, which override the others; None counts as not given.

    Raises:
        SettingsError: Settings are unknown, invalid or in conflict; lists all of them.
    """
    problems: list[str] = []
    given = _GivenSettings()
    if config_file is not None:
        _read_file(config_file, given, problems)
    _read_environment(env, given, problems)
    _read_overrides(overrides, given, problems)
    settings, unusable = _validate_given(given, problems)
    if given.tiers:
        settings = _merge_tiers(settings, given.tiers, problems)
    problems += find_conflicts(settings, unusable)
    if problems:
        raise SettingsError(problems, settings)
    return settings


class _GivenSettings:
    """Collects values by the name of their setting, each with the place it was read from."""

    def __init__(self) -> None:
        self.values: dict[str, object] = {}
        self.sources: dict[str, str] = {}
        #: Limits of tiers from lines such as ``free_daily_minutes``, by tier and key.
        self.tiers: dict[str, dict[str, object]] = {}

    def set_value(self, name: str, value: object, source: str) -> None:
        self.values[name] = value
        self.sources[name] = source


def _read_file(file: Path, given: _GivenSettings, problems: list[str]) -> None:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(file.read_text("utf-8"), source=str(file))
    except OSError as error:
        problems.append(f"The file {file} cannot be read: {error.strerror}.")
        return
    except (configparser.Error, UnicodeDecodeError):
        problems.append(
            f"The file {file} is not an INI file of sections with 'name = value' lines, each name once."
        )
        return
    sections = _list_sections()
    for section in parser.sections():
        if section not in sections:
            problems.append(_describe_unknown(f"[{section}]", section, sections))
            continue
        for name, value in parser.items(section):
            tier = parse_tier_setting(name) if section == _QUOTA_SECTION else None
            if name in sections[section]:
                given.set_value(sections[section][name], value, f"[{section}] {name}")
            elif tier is not None:
                given.tiers.setdefault(tier[0], {})[tier[1]] = value
            else:
                problems.append(_describe_misplaced(section, name, sections))


def _read_environment(env: Mapping[str, str], given: _GivenSettings, problems: list[str]) -> None:
    known = {variable: name for name, setting in SETTINGS.items() for variable in setting.env_names}
    for variable, value in env.items():
        if not value or variable in FOREIGN_ENV_NAMES:
            continue
        if variable in known:
            given.set_value(known[variable], value, variable)
        elif variable.startswith(ENV_PREFIX):
            problems.append(_describe_unknown(variable, variable, known))


def _read_overrides(overrides: Mapping[str, object], given: _GivenSettings, problems: list[str]) -> None:
    for name, value in overrides.items():
        if value is None:
            continue
        if name in SETTINGS:
            given.set_value(name, value, name)
        else:
            problems.append(_describe_unknown(name, name, SETTINGS))


def _validate_given(given: _GivenSettings, problems: list[str]) -> tuple[Settings, set[str]]:
    """Return the settings of all usable values, and the names of the others."""
    unusable: set[str] = set()
    try:
        return Settings.model_validate(given.values), unusable
    except ValidationError as error:
        names = {(setting.group, setting.field): name for name, setting in SETTINGS.items()}
        for problem in error.errors(include_url=False, include_input=False, include_context=False):
            group, field = map(str, problem["loc"][:2])
            name = names[group, field]
            unusable.add(name)
            problems.append(f"{given.sources[name]}: {problem['msg'][0].lower()}{problem['msg'][1:]}.")
    usable = {name: value for name, value in given.values.items() if name not in unusable}
    return Settings.model_validate(usable), unusable


def _merge_tiers(
    settings: Settings, tiers: Mapping[str, Mapping[str, object]], problems: list[str]
) -> Settings:
    """Return the settings with the file's ``<tier>_<key>`` lines, which ``tier_limits`` overrides."""
    merged = {tier: dict(keys) for tier, keys in settings.quota.tier_limits.items()}
    for tier, keys in tiers.items():
        for key, value in keys.items():
            try:
                limits = parse_tier_overrides({tier: {key: value}})[tier]
            except ValueError as error:
                problems.append(f"[{_QUOTA_SECTION}] {tier}_{key}: {error}.")
            else:
                merged[tier] = {**limits, **merged.get(tier, {})}
    quota = settings.quota.model_copy(update={"tier_limits": merged})
    return settings.model_copy(update={"quota": quota})


def _list_sections() -> dict[str, dict[str, str]]:
    """Return, by section, each setting's name by the names that the file may use for it."""
    names_by_section: dict[str, dict[str, str]] = {}
    for name, setting in SETTINGS.items():
        names_by_section.setdefault(setting.section, {}).update({setting.field: name, name: name})
    return names_by_section


def _describe_misplaced(section: str, name: str, sections: Mapping[str, Mapping[str, str]]) -> str:
    """Return the problem of a name that is unknown in its section."""
    source = f"[{section}] {name}"
    homes = [f"[{other}]" for other, names in sections.items() if names.get(name) == name]
    if parse_tier_setting(name) is not None:
        homes.append(f"[{_QUOTA_SECTION}]")
    if homes:
        return f"{source} is not a setting here. It belongs under {' or '.join(homes)}."
    return _describe_unknown(source, name, {**SETTINGS, **sections[section]})


def _describe_unknown(source: str, name: str, known: Iterable[str]) -> str:
    nearest = get_close_matches(name.lower(), (candidate.lower() for candidate in known), n=1, cutoff=0.5)
    suggestion = next((candidate for candidate in known if nearest and candidate.lower() == nearest[0]), None)
    return f"{source} is not a setting." + (f" Did you mean {suggestion}?" if suggestion else "")
