"""The visual domains: principal axes, and autoencoders that stop and go on to the same bits."""

from __future__ import annotations

import numpy as np
import pytest
from quintet.jobs.synergy import make_labels, render
from quintet.jobs.synergy.config import Visual
from quintet.jobs.synergy.visual import encode, gate_message, pixel_error, principal_axes, start_visual


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return render(make_labels({"train": 400})["train"].labels)


def test_principal_axes_have_fixed_signs_and_unit_latents(images: np.ndarray) -> None:
    weights = principal_axes(images, 12)
    np.testing.assert_allclose(weights["axes"] @ weights["axes"].T, np.eye(12), atol=1e-9)
    largest = np.abs(weights["axes"]).argmax(axis=1)
    assert (weights["axes"][np.arange(12), largest] > 0).all()
    visual = Visual(kind="pca")
    latents = encode(visual, weights, images)
    assert latents.shape == (400, 2, 12) and not latents[:, 1].any()
    np.testing.assert_allclose(np.cov(latents[:, 0].T), np.eye(12), atol=1e-4)
    error = pixel_error(visual, weights, images)
    assert error < (images / 255.0).var() and gate_message(visual, error) is None
    assert "max_val_mse" in (gate_message(Visual(kind="pca", max_val_mse=1e-9), error) or "")


@pytest.mark.parametrize("kind", ["vae_mlp", "vae_conv"])
def test_an_autoencoder_goes_on_to_the_same_bits(
    images: np.ndarray, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    visual = Visual(kind=kind, epochs=2, ae_dim=16)
    monkeypatch.setattr("quintet.jobs.synergy.autoencoder.CHUNK", {kind: 3})
    whole = start_visual(visual, images)
    while whole.advance():
        pass
    first = start_visual(visual, images)
    first.advance()
    second = start_visual(visual, images)
    second.restore(first.state())
    while second.advance():
        pass
    for name, array in whole.weights().items():
        np.testing.assert_array_equal(array, second.weights()[name])
    latents = encode(visual, whole.weights(), images)
    assert latents.shape == (400, 2, 12) and np.isfinite(latents).all()
    np.testing.assert_array_equal(latents[7:9], encode(visual, whole.weights(), images)[7:9])
