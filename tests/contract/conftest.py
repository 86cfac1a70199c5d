"""No test leaves anything behind."""

from tests.support.leaks import no_leaks

__all__ = ["no_leaks"]
