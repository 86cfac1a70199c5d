"""No unit test leaves anything behind in this process; it starts no others."""

from tests.support.leaks import no_leaks_inside

__all__ = ["no_leaks_inside"]
