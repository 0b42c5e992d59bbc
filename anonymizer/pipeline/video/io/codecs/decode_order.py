"""Times of frames in containers that store when a frame is decoded, and not when it is shown (AVI)."""

from __future__ import annotations

__all__ = ["DecodeOrder"]

#: how many packets more than the decoder says may lie between a frame's packet and the packet after which it is shown
_SPARE = 2


class DecodeOrder:
    """Gives the times of packets, in their order, to the frames in the order in which they are shown.

    Where frames are decoded in another order than they are shown, the first frame that is shown gets the time of the
    first packet, and so on. A packet that gives no frame leaves a gap.
    """

    def __init__(self) -> None:
        # ascending
        self._times: list[int] = []
        # times of packets that gave no frame so far, with their numbers; those of all packets
        self._waiting: dict[int, int] = {}
        self._count = 0
        self._last: int | None = None
        self._shown: int | None = None

    def add(self, time: int | None) -> int:
        """Take the time of the next packet.

        Args:
            time: the packet's dts; None: it has none.

        Returns:
            The time that the packet is known by from now on: later than that of every packet before.
        """
        following = 0 if self._last is None else self._last + 1
        self._last = following if time is None else max(time, following)
        self._times.append(self._last)
        self._waiting[self._last] = self._count
        self._count += 1
        return self._last

    def take(self, own: int, reorder_depth: int) -> int:
        """Choose the time at which a frame is shown.

        Args:
            own: what `add` returned for the frame's packet.
            reorder_depth: how many frames may be decoded before a frame and shown after it.

        Returns:
            The time, later than all that were chosen before.
        """
        number = self._waiting.pop(own, 0)
        # the frames of packets before would have been shown by now: there are none
        first = number - (reorder_depth + _SPARE if reorder_depth else 0)
        for time in [time for time, place in self._waiting.items() if place < first]:
            del self._waiting[time]
            # a frame may have got this time already, in place of a later one
            self._times.remove(time if time in self._times else self._times[0])
        following = 0 if self._shown is None else self._shown + 1
        # a packet may give more than one frame
        self._shown = max(self._times.pop(0), following) if self._times else following
        return self._shown
