"""Amazon's models are the referee of our tables: see referee.py."""

import referee


def test_every_operation_is_as_the_model_says():
    unexcused, unneeded = referee.judge(referee.our_services())
    assert not unexcused, "differences from Amazon's models:\n" + "\n".join(unexcused)
    assert not unneeded, "reasons in differences.py that nothing needs:\n" + "\n".join(unneeded)


def test_the_coverage_page_is_up_to_date():
    assert referee.PAGE.read_text() == referee.page(referee.our_services()), "docs/coverage.md is stale: make coverage"
