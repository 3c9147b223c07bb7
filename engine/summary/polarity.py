"""Whether two sentences say the same way round: negations, and words of opposite meaning.

Short general lists: they know that "refused" turns "agreed" round, not what the sentence is about. Knows strings.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from engine.summary.terms import HAN, stem

_NEGATION: Final = re.compile(
    r"\b(?:not|no|never|nobody|none|nothing|neither|nor|nowhere|without|cannot|hardly|barely|refus\w+|den(?:y|ied|ies|ying)|"
    r"fail\w*|declin\w+|reject\w*|lack\w*|avoid\w*|un(?:able|likely|willing|sold|paid|known|touched|changed|opened)|"
    r"instead of|rather than|stop(?:s|ped)?|ban(?:ned|s)?|forb\w+|abolish\w*|cancel\w*|ruled out)\b|n['’]t\b",
    re.IGNORECASE,
)
_NEGATION_HAN: Final = re.compile(r"不|没|未|无|非|别|勿|莫|拒|否|禁|免|停止|取消|反对|缺")
_CLAUSE: Final = re.compile(r"[,;:.!?，；：。！？]|\\b(?:but|although|though|while|whereas|because)\\b")
_REACH: Final = 40
_REACH_HAN: Final = 6
"""Characters before a word in which a negation turns it round."""
_PAIRS: Final = (
    "rise fall|increase decrease|increase reduce|grow shrink|up down|higher lower|high low|more less|more fewer|"
    "above below|gain lose|win lose|accept reject|accept refuse|agree refuse|agree disagree|approve reject|approve refuse|"
    "allow forbid|allow ban|permit ban|open close|open shut|begin end|start stop|start finish|keep drop|keep abandon|"
    "keep sell|stay leave|arrive leave|before after|early late|first last|always never|everybody nobody|all none|"
    "everything nothing|include exclude|succeed fail|support oppose|favour against|for against|cheap dear|cheap expensive|"
    "cheaper dearer|buy sell|borrow lend|lend borrow|give take|send receive|remember forget|find lose|alive dead|live die|"
    "old new|large small|big small|long short|fast slow|quick slow|better worse|best worst|good bad|strong weak|hot cold|"
    "warm cold|dry wet|full empty|rich poor|happy unhappy|satisfied dissatisfied|safe dangerous|public private|free paid|"
    "voluntary compulsory|optional mandatory|temporary permanent|same different|easy difficult|easy hard|"
    "possible impossible|confirm deny|admit deny|love hate|like dislike|welcome reject|welcome oppose|postpone advance|"
    "delay hasten|raise cut|raise lower|extend shorten|extend cut|improve worsen|improve deteriorate|present absent|"
    "true false|right wrong|majority minority|most few|unanimous divided|unanimously narrowly|continue stop|continue end|"
    "return abandon|repair scrap|exceed miss|ahead behind|profit loss|surplus deficit|hire dismiss|appoint dismiss|"
    "join leave|locked open|with without|known unknown|ignore obey|ignore follow|praise criticise|praise blame|"
    "build demolish|plant fell|calm upset|same changed|unchanged changed|unchanged higher|unchanged lower"
)
_PAIRS_HAN: Final = (
    "增 减|升 降|涨 跌|涨 降|上 下|高 低|多 少|大 小|快 慢|早 晚|先 后|前 后|同意 反对|同意 拒绝|同意 否决|通过 否决|"
    "通过 推翻|赞成 反对|允许 禁止|准许 禁止|开 关|开始 结束|继续 停止|保留 取消|保留 拆除|买 卖|借 还|收 退|收下 拒绝|"
    "接受 拒绝|成功 失败|赢 输|好 坏|好 差|新 旧|长 短|远 近|强 弱|便宜 贵|免费 收费|支持 反对|承认 否认|提前 推迟|"
    "提前 延后|提高 降低|上升 下降|增加 减少|改善 恶化|满意 不满|公开 隐瞒|公开 保密|全部 部分|多数 少数|一致 分歧|"
    "耐磨 磨损|记得 忘|来 走|到 离|留下 离开|满 空|冷 热|轻 重|厚 薄|安全 危险|相同 不同|简单 困难|容易 难|永久 暂时|"
    "必须 自愿|盈利 亏损|超过 不足|高于 低于|优于 劣于|喜 厌|爱 恨|夸 骂|表扬 批评|扩大 缩小|延长 缩短|加强 削弱|聘 辞|"
    "加入 退出"
)
_OPPOSITES: Final = frozenset(
    pair for words in _PAIRS.split("|") for first, second in [words.split()] for pair in ((first, second), (second, first))
)
_OPPOSITES_HAN: Final = tuple(
    pair for words in _PAIRS_HAN.split("|") for first, second in [words.split()] for pair in ((first, second), (second, first))
)
_WORD: Final = re.compile(r"[a-z]+")


def negated(text: str, start: int) -> bool:
    """Whether the word that begins at `start` stands under a negation: one in the words before it, in the same clause."""
    before = text[max(0, start - _REACH) : start]
    clause = _CLAUSE.split(before)[-1]
    return bool(_NEGATION.search(clause) or _NEGATION_HAN.search(clause[-_REACH_HAN:]))


def has_negation(text: str) -> bool:
    """Whether there is one anywhere, in either language."""
    return bool(_NEGATION.search(text) or _NEGATION_HAN.search(text))


def opposites(claim: str, source: str) -> int:
    """How often the source says the opposite of a word of the claim, without saying the word itself."""
    said, there = _stems(claim), _stems(source)
    found = sum(
        1 for first, second in _stemmed() if first in said and second in there and first not in there and second not in said
    )
    if re.search(f"[{HAN}]", claim):
        found += sum(
            1
            for first, second in _OPPOSITES_HAN
            if first in claim and second in source and first not in source and second not in claim
        )
    return found


def _stems(text: str) -> set[str]:
    words = set(_WORD.findall(text.casefold()))
    return words | {stem(word) for word in words}


@cache
def _stemmed() -> frozenset[tuple[str, str]]:
    return _OPPOSITES | frozenset((stem(first), stem(second)) for first, second in _OPPOSITES)
