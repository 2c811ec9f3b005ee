"""Access cut over the whole path: REST, agent, wiper, signed outcome; then the wipe, when the dispute is decided."""

import pytest


@pytest.mark.slow
def test_access_is_revoked_and_the_data_wiped_later(agent, collector):
    """The data stands until the wipe; the command shows the signed outcome; only the wipe is a wipe on the record."""
    assert agent.ended(agent.order(kind="access_grant", username="dora")["command_id"])["state"] == "succeeded"
    home = agent.simulated / "home/dora"
    (home / "data").write_text("precious")
    revoked = agent.ended(agent.order(kind="access_revoke", username="dora")["command_id"])
    assert (revoked["state"], revoked["outcome"]["status"]) == ("succeeded", "success"), revoked
    assert (home / "data").read_text() == "precious"
    wiped = agent.ended(agent.order(kind="wipe", username="dora", methods=["home_directory_purge"])["command_id"])
    assert wiped["state"] == "succeeded", wiped
    assert not home.exists()
    of_dora = [one for one in collector.items("/v1/data_wipes") if one["command_id"] == revoked["command_id"]]
    assert of_dora == []
