"""Find, describe and signal processes: the one owner of psutil, prctl and /proc."""
