"""The ledger finds the moment of the peak and says what was alive at it."""

from trainers.memory.report import CATEGORIES, Ledger


def test_the_peak_is_the_first_moment_with_the_most_and_its_parts_add_up() -> None:
    ledger = Ledger()
    ledger.hold(1, 100, "weights")
    ledger.allocate(2, 30)
    ledger.allocate(3, 50)
    ledger.free(2)
    ledger.allocate(4, 10)
    report = ledger.report()
    assert report.total == 180
    assert (report.weights, report.workspace) == (100, 80)


def test_a_storage_has_the_category_that_it_is_given_later_and_only_the_first_one() -> None:
    ledger = Ledger()
    ledger.hold(1, 5, "real_parameters_and_buffers")
    ledger.allocate(2, 7)
    ledger.tag(2, "saved_activations")
    ledger.tag(2, "gradients")
    ledger.tag(1, "saved_activations")  # a saved parameter stays one
    report = ledger.report()
    assert (report.real_parameters_and_buffers, report.saved_activations, report.gradients) == (5, 7, 0)


def test_an_address_used_again_is_another_storage() -> None:
    ledger = Ledger()
    ledger.allocate(1, 10)
    ledger.tag(1, "gradients")
    ledger.free(1)
    ledger.allocate(1, 20)
    report = ledger.report()
    assert (report.gradients, report.workspace) == (0, 20)


def test_scratch_in_passing_and_what_only_the_allocator_saw_are_workspace() -> None:
    ledger = Ledger()
    ledger.hold(1, 10, "latent")
    ledger.passing(90)
    ledger.passing(-5)
    ledger.free(77)  # alive before, and not held
    assert ledger.report().by_category() == {**dict.fromkeys(CATEGORIES, 0), "latent": 10, "workspace": 90}
    assert ledger.report(total=128).workspace == 118


def test_metrics_name_the_peak_and_every_category() -> None:
    ledger = Ledger()
    ledger.hold(1, 10, "latent")
    metrics = ledger.report().metrics()
    assert metrics["peak_memory_bytes"] == metrics["memory_latent_bytes"] == 10
    assert len(metrics) == 1 + len(CATEGORIES)
