"""Characters that draw nothing or turn text round: one of each kind there is (Unicode's Default_Ignorable)."""

UNSEEN = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u180b\u180e"  # soft hyphen, joiners and fillers of single scripts
    "\u200b\u200c\u200d\u200e\u200f\u2060\u2064\ufeff"  # of no width
    "\u202a\u202e\u2066\u2069"  # direction
    "\u2028\u2029\u0085\u009b"  # line ends and controls that are no ASCII
    "\u3164\uffa0\ufe00\ufff9\U000e0041\U000e0100\U0001d173"  # fillers, variations, tags, music
)
