"""Tests of the study society."""
