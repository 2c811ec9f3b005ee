"""The shipped alerts: what promtool says of them, and that each fires when it should, only then, and steadily."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.deploy.alert_cases import CASES, HEARD, LASTING, UP, Case
from tests.prometheus import promtool

DEPLOY = Path(__file__).parents[2] / "deploy" / "prometheus"
ALERTS = DEPLOY / "alerts.yml"
NAMES = re.findall(r"- alert: (\w+)", ALERTS.read_text())


@pytest.fixture(scope="module")
def tool(missing) -> str:
    return promtool(missing)


def said(tool: str, *arguments: str | Path) -> tuple[int, str]:
    done = subprocess.run([tool, *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def firing(alert: str, at: int, count: int) -> dict[str, object]:
    """The expectation that so many alerts of a name fire at a minute."""
    return {
        "expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})',
        "eval_time": f"{at}m",
        "exp_samples": [{"labels": "{}", "value": count}] if count else [],
    }


Trial = tuple[dict[str, str], list[dict[str, object]]]
"""Series, and what is expected of the alerts over them."""


def judged(tool: str, folder: Path, *trials: Trial, step: str = "1m") -> str:
    """What promtool says of the alerts over some series; nothing when all is as expected."""
    tests = [
        {
            "interval": step,
            "input_series": [{"series": name, "values": values.strip()} for name, values in series.items()],
            "promql_expr_test": expected,
        }
        for series, expected in trials
    ]
    file = folder / "case.yml"
    file.write_text(json.dumps({"rule_files": [str(ALERTS)], "evaluation_interval": step, "tests": tests}))
    code, words = said(tool, "test", "rules", file)
    return words if code else ""


def test_promtool_has_nothing_against_the_alerts(tool):
    """Every expression and every template can be read; duplicates are told too."""
    code, words = said(tool, "check", "rules", "--lint=all", "--lint-fatal", ALERTS)
    assert code == 0, words


def test_the_example_of_a_configuration_is_one(tool, tmp_path):
    """With its rules and the token it names beside it."""
    for name in ("scrape.yml", "alerts.yml"):
        (tmp_path / name).write_text((DEPLOY / name).read_text())
    (tmp_path / "rackproof.token").write_text("rps_x")
    code, words = said(tool, "check", "config", tmp_path / "scrape.yml")
    assert code == 0, words


def test_every_alert_has_a_case():
    """One that fires and one that does not."""
    assert sorted(NAMES) == sorted(CASES)


def test_every_alert_says_how_bad_what_and_what_to_do():
    """In its own words."""
    for rule in ALERTS.read_text().split("- alert: ")[1:]:
        assert re.search(r"severity: (critical|warning|info)\n", rule), rule
        for field in ("summary", "description", "runbook"):
            assert re.search(rf'^          {field}: ".{{9,}}"$', rule, re.MULTILINE), (field, rule)


def test_no_alert_comes_and_goes_with_single_samples():
    """Each waits before it begins or before it ends."""
    for rule in ALERTS.read_text().split("- alert: ")[1:]:
        assert "for: " in rule, rule


@pytest.mark.parametrize("alert", NAMES)
def test_an_alert_fires_when_it_should_and_only_then(tool, tmp_path, alert):
    """At the figures of its case, also beside a machine that is well, and not at the figures of that one alone."""
    case = CASES[alert]
    well = {name.replace("hw_1", "hw_2").replace('"i"', '"i2"'): values for name, values in case.good.items()}
    trials = (
        (case.bad, [firing(alert, case.minutes, 1)]),
        ({**well, **case.bad}, [firing(alert, case.minutes, 1)]),
        (case.good, [firing(alert, case.minutes, 0)]),
    )
    assert judged(tool, tmp_path, *trials, step=case.step) == ""


@pytest.mark.parametrize("step", sorted({case.step for case in CASES.values()}))
def test_an_alert_s_words_are_filled_in(tool, tmp_path, step):
    """Labels, values and what a template asks for itself; told by promtool when nothing is expected."""
    cases = {name: case for name, case in CASES.items() if case.step == step}
    tests = [
        {
            "interval": step,
            "input_series": [{"series": series, "values": values.strip()} for series, values in case.bad.items()],
            "alert_rule_test": [{"eval_time": f"{case.minutes}m", "alertname": name, "exp_alerts": []}],
        }
        for name, case in cases.items()
    ]
    file = tmp_path / "words.yml"
    file.write_text(json.dumps({"rule_files": [str(ALERTS)], "evaluation_interval": step, "tests": tests}))
    _, words = said(tool, "test", "rules", file)
    told = re.findall(r"Annotations:(\{.*\})", words)
    assert len(told) == len(cases)
    for one in told:
        assert not re.search(r"<no value>|error|\{\{|%!|NaN", one.replace("errors", "").replace("an error", "")), one


def test_an_unhealthy_machine_is_told_with_its_reasons(tool, tmp_path):
    """By their codes, as the collector gave them."""
    series = {
        'rackproof_machine_health_state{hardware_id="hw_1",state="unhealthy"}': "1x9",
        'rackproof_machine_health_reason_items{hardware_id="hw_1",code="gpu_lost",state="unhealthy"}': "1x9",
    }
    expected = {"eval_time": "5m", "alertname": "RackproofMachineUnhealthy", "exp_alerts": []}
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [expected],
    }
    file = tmp_path / "reasons.yml"
    file.write_text(json.dumps({"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": [test]}))
    assert "Reasons: gpu_lost " in said(tool, "test", "rules", file)[1]


@pytest.mark.parametrize("alert", LASTING)
def test_an_alert_does_not_flap(tool, tmp_path, alert):
    """A figure that wavers is one alert from beginning to end; one that never stays is none."""
    case: Case = LASTING[alert]
    begun = 20
    lasting = [firing(alert, minute, 1) for minute in range(begun, begun + 6)]
    assert judged(tool, tmp_path, (case.bad, lasting)) == ""
    assert judged(tool, tmp_path, (case.good, [firing(alert, minute, 0) for minute in range(9)])) == ""


def test_machines_are_not_called_offline_while_the_collector_suspects_itself(tool, tmp_path):
    """One alert tells of the mass silence; a thousand would hide it."""
    silence = {UP: "0x20", HEARD: "0x20", "rackproof_mass_silence": "1x20"}
    expected = [firing("RackproofMachineOffline", 10, 0), firing("RackproofMassSilence", 10, 1)]
    assert judged(tool, tmp_path, (silence, expected)) == ""


def test_the_first_error_of_a_gpu_is_seen(tool, tmp_path):
    """Its count was not there before; one that was, and is the same after a reboot of the collector, is no news."""
    series = 'rackproof_machine_gpu_xid_errors_total{hardware_id="hw_1",pci_address="0000:17:00.0",kind="reboot"}'
    assert judged(tool, tmp_path, ({series: "_x30 1x30"}, [firing("RackproofGpuXid", 35, 1)])) == ""
    assert judged(tool, tmp_path, ({series: "3x30 _x3 3x100"}, [firing("RackproofGpuXid", 100, 0)])) == ""
