"""Chinese names: words that jieba's part-of-speech tagger calls the name of a person, place,
institution or other thing.
"""

import rjieba
from pydantic import Field

from ernie_cmtl.corpus.layers import LayerOptions, SpanProvider
from ernie_cmtl.corpus.tokens.jieba_words import SEGMENTER

_DOTS = "·‧・•"
# Ordinary words that the dictionary, or the guess at a word it lacks, calls names: those that
# running text has most of.
_ORDINARY_TEXT = (
    "城市 都市 城堡 王国 海洋 太阳 英雄 东西 朝廷 加盟 中断 深度 长度 山口 莽原 东区 巴士 东北 "
    "西北 东南 西南 该庄 卫星 童军 温泉 陆军 古老 荣获 荣誉 顾问 晋级 连衣裙 望远镜 大将军 天文台 "
    "小镇 太祖 诸如 智慧 王子 侍中 侍郎 修正 宝石 许可 亚军 占领区 公开赛 修道院 顾客 全校师生 "
    "英文单词 元帅 保健 治国 师专 二人 令人 家族 和平 普通 抗议 通讯 天文 恒星 君王 论文 大浪 大奖 "
    "海战 大战 宝座 世界观 世界纪录 曝光 高速铁路 卡片 护卫 换乘 保安 大内 神通 波光 抗命 力争 "
    "改编自 高科技 捷运 摩托车 联合会 国家队 广播公司 广播电台 法学院 音乐会 社会科学 国际化 "
    "交汇处 非政府 株式会社 中南部 地方法院 最高法院 人民政府 中央政府 联邦政府 联合政府 交易所 "
    "美术馆 神学院 音乐厅 海洋学 大科 郎中 总管 向前 常任 东西向 大都 大关 关联 两国 向东 城镇 "
    "建国 普及 回国 美丽 佳丽 青少年 王朝 天桥 左翼 台风 宣言 福利 封锁 高峰 海滩 王爷 洪水 入口 "
    "慈善 文明 上市 哥哥 幸存者 道德 塔楼 季后赛 明星 龙卷风 段时间 长达 大胜 连胜 体操 祖先 友谊 "
    "二氧化碳 夕阳 明白 古典 上台 黑帮 湾区 阳光 周边地区 沿海地区 新鲜度 马匹 河畔 光荣 牟利 河川 "
    "容纳 师傅 权威 公正 祝贺 神圣 香水 高原 封印 京城 荣光 梅开二度 安保 军事院校 巫师 大街 爱国 "
    "伯爵 开国 大佐 南南西 南南东 北北西 北北东 朝西北 朝东北"
)
_ORDINARY = frozenset(_ORDINARY_TEXT.split())
_PERSONS = frozenset(("nr", "nrt", "nrfg"))


class TaggedNamesOptions(LayerOptions):
    """Which words are names."""

    tags: tuple[str, ...] = ("nr", "nrt", "nrfg", "ns", "nt", "nz")
    """Tags of jieba's dictionary: nr person (nrt of foreign sound, nrfg of history), ns place, nt
    institution, nz other.
    """
    unknown_words: bool = True
    """Also names that the dictionary lacks, guessed from their characters; fewer of them are
    right.
    """
    minimum_characters: int = Field(2, ge=1)
    """Shortest name; one character alone is mostly no name, but an ordinary word that can be a
    surname too.
    """


class TaggedNames(SpanProvider):
    """Words tagged as names; the parts of a foreign person's name are one."""

    languages = ("zh",)
    citation = "ERNIE 1.0, section 3.2; tags of jieba"
    Options = TaggedNamesOptions
    options: TaggedNamesOptions

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return the place of each name."""
        tags, minimum = frozenset(self.options.tags), self.options.minimum_characters
        found: list[tuple[int, int]] = []
        stop, before = 0, ""
        for word, tag in (
            SEGMENTER.tagged(text) if self.options.unknown_words else rjieba.tag(text, False)
        ):
            start, stop = stop, stop + len(word)
            if tag in tags and len(word) >= minimum and word not in _ORDINARY:
                last = found[-1][1] if found else -1
                dotted = last == start - 1 and text[last] in _DOTS
                # The dictionary knows the parts of foreign names; a Chinese one rarely stands right
                # before another.
                if dotted or (
                    last == start and _PERSONS.issuperset((before, tag)) and "nrt" in (before, tag)
                ):
                    start = found.pop()[0]
                found.append((start, stop))
                before = tag
        return found
