"""Names of people, places and firms in a text, found by how they are written and by the words beside them.

English: capitalised words that do not only begin a sentence. Chinese has no capitals: a surname, with a role, a title or a verb
of saying beside it, or written again and again. Knows strings; knows no list of names but the surnames.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from typing import Final

from engine.summary.terms import HAN, STOP_WORDS

_CAPITALISED: Final = re.compile(r"(?<![\w'’])[A-Z][\w’'-]*(?:\.(?=\s[A-Z]))?")
_DESCRIBED: Final = re.compile(r"\w+-\w")
_START: Final = re.compile(r"(?:^|[.!?…:;\n]|[\"“‘(•*-])\s*[\"“‘(]*$")
_NOT_NAMES: Final = frozenset(
    "i i'm i've i'll i'd mr mrs ms dr prof monday tuesday wednesday thursday friday saturday sunday mondays tuesdays wednesdays "
    "thursdays fridays saturdays sundays am pm ok january february march april may june july august september october november "
    "december".split()
)
_SURNAMES: Final = (
    "王李刘陈杨赵吴徐孙胡朱林何郭罗梁宋郑谢韩唐冯于董萧曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶阎余潘杜戴夏钟汪田姜范姚谭"
    "廖邹熊陆郝孔崔康毛邱秦江史顾侯邵孟龙雷汤尹黎易乔贺赖龚庞樊兰殷洪翟颜倪严牛芦季俞章鲁葛伍韦申尤毕聂丛焦柳邢岳齐梅"
    "莫庄辛祝涂谷祁舒耿牟卜詹苗凌纪靳盛童欧甄阳裴卫屈鲍覃霍翁隋植甘景薄柏宁柯阮桂闵冉辜饶刁瞿戚丘滕晋苑邬臧宫嵺苟褚廉"
    "简娄符奚穆燕郎邸冀谈姬屠郜晏栾郁商蒙喻揭窦敖糜鄢冷卓仇艾蓝稽井练仲乐虞卞封竺米骆伏裘闻沙麦"
)
_SURNAMES_AND_WORDS: Final = (
    "张黄周高马程任方石金白万段钱常武文施陶安温管查包盖单司花时全来车成游关向连都解曲明房费柴路强席左巩计项平边沿木水火闻和年有能"
)
"""Surnames that begin many ordinary words: a name only beside a role or a title."""
_DOUBLE: Final = "欧阳|司马|上官|诸葛|申屠|夏侯|皇甫|尉迟|公孙|慕容|司徒|令狐|宇文|端木|东方|南宫"
_TITLE: Final = "师傅|老师|医生|大夫|经理|主任|教授|先生|女士|老板|站长|队长|阿姨|大爷|奶奶|爷爷|工|总|嫂|叔|婶|姐|哥"
_ROLE: Final = (
    "主任|经理|记者|工程师|[站会局县市镇村校院所科处店队班组部船]长|主席|书记|委员|教授|博士|医生|大夫|老师|师傅|总监|总裁|"
    "秘书|律师|法官|警官|司机|老板|编辑|作家|画家|导演|演员|专家|研究员|负责人|代表|先生|女士|同学|师兄|师姐|执笔|审核|"
    "记录|主持|名叫|叫|女儿|儿子|妻子|丈夫"
)
_SAYS: Final = "说|表示|认为|告诉|介绍|解释|回答|问|答|提醒|建议|指出|通报|劝|觉得|负责|提出|承认|强调|补充|带队"
_ANY: Final = _SURNAMES + _SURNAMES_AND_WORDS
_SPOKEN: Final = rf"(?:{_DOUBLE}|[{_ANY}])[{HAN}]{{1,2}}?"
_AFTER_ROLE: Final = re.compile(rf"(?:{_ROLE})[：:\s]{{0,2}}(?P<name>{_SPOKEN})(?={_SAYS}|{_ROLE}|[\s，。；！？：、（”]|$)")
_BEFORE_VERB: Final = re.compile(rf"(?:^|[，。；！？：、\s“”（])(?P<name>{_SPOKEN})(?:{_SAYS})")
_TITLED: Final = re.compile(rf"(?P<name>(?:{_DOUBLE}|[{_ANY}])(?:{_TITLE}))")
_SIGNED: Final = re.compile(rf"(?<=[、：:，\s])(?P<name>(?:{_DOUBLE}|[{_SURNAMES}])[{HAN}]{{1,2}})(?=[、，。；（\s]|$)")
_PERSON: Final = re.compile(rf"(?=(?P<name>(?:(?:{_DOUBLE})|[{_SURNAMES}])[{HAN}]{{1,2}}))")
_NO_NAME_END: Final = frozenset(
    "的了是在和与说要来去就也都把被给让对从为有不没还又问答着过到上下中里个们这那一以及等所其他她它会能可"
)


def english_names(text: str, known: Collection[str] = ()) -> list[str]:
    """Capitalised words that are names, lower-case, in order.

    Every sentence begins with a capital, so its first word counts only when it is one of the `known` names or when another
    capitalised word follows it.
    """
    found = []
    for match in _CAPITALISED.finditer(text):
        word = _plain(match.group())
        if len(word) < 2 or word in STOP_WORDS or word in _NOT_NAMES:
            continue
        before = text[max(0, match.start() - 4) : match.start()]
        if match.start() == 0 or _START.search(before):
            following = _CAPITALISED.match(text, match.end() + 1)
            is_name = following is not None and _plain(following.group()) not in STOP_WORDS and not _DESCRIBED.match(word)
            if word not in known and not is_name:  # "Twelve-year-old Ana" has one name
                continue
        found.append(word)
    return found


def _plain(word: str) -> str:
    return re.sub(r"['’]s?$", "", word.rstrip(".")).casefold()


def chinese_names(text: str) -> set[str]:
    """People that a Chinese text names: what a role, a title or a verb of saying stands beside, and surnames that come again."""
    found = {match.group("name") for pattern in (_AFTER_ROLE, _BEFORE_VERB, _TITLED) for match in pattern.finditer(text)}
    counts = Counter(match.group("name")[:length] for match in _PERSON.finditer(text) for length in (2, 3))
    signed = {match.group("name") for match in _SIGNED.finditer(text)}
    for name, count in counts.items():
        if count > 1 and name[-1] not in _NO_NAME_END and (name in signed or count > 2):
            found.add(name)
    longer = {name[:length] for name in found for length in range(2, len(name))}
    return found - longer


def chinese_names_from(text: str, source: str) -> set[str]:
    """People that a text names and `source` has too: the longest run after a surname that both write."""
    found = {match.group("name") for match in _TITLED.finditer(text) if match.group("name") in source}
    for match in _PERSON.finditer(text):
        name = match.group("name")
        while len(name) > 1 and (name not in source or name[-1] in _NO_NAME_END):
            name = name[:-1]
        if len(name) > 1:
            found.add(name)
    return {name for name in found if not any(name != other and name in other for other in found)}
