"""Content: colours, light, sounds, smells and textures."""

import re

DEV = False
KIND = "content"
_SENSE = re.compile(
    r"\b(red|blue|green|gold(?:en)?|white|black|gr[ae]y|silver|yellow|orange|pink|purple|brown|dark|bright|light|soft|warm|cold|cool|"
    r"sweet|bitter|salty|scents?|smells?|aromas?|sounds?|whisper\w*|hum\w*|echo\w*|crisp|smooth|rough|fresh|glow\w*|shimmer\w*|"
    r"misty|loud|quiet|silent|fragran\w+|breeze)\b",
    re.IGNORECASE,
)


def score(prompt: str, text: str) -> float:
    """Share of such words."""
    return len(_SENSE.findall(text)) / max(8, len(text.split()))
