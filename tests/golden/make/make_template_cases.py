#!/usr/bin/env python3
"""Makes tests/golden/template/cases.json: template snippets with the output of the reference.

usage: make_template_cases.py [OUT]      needs Python 3.11 and jinja2 3.1.6

The reference is set up as transformers sets it up for chat templates: ImmutableSandboxedEnvironment with
trim_blocks and lstrip_blocks, loop controls, {% generation %}, tojson by json.dumps without ASCII escapes,
raise_exception, namespaces without names that begin with _, strftime_now (clock 2025-01-15 12:30:00). A snippet whose "error" is true must fail.
"""
import datetime
import json
import pathlib
import sys

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

NOW = datetime.datetime(2025, 1, 15, 12, 30, 0)
VARS = {
    "n": 3, "neg": -7, "big": 9007199254740993, "f": 1.5, "t": True, "no": None, "e": "", "s": "Hello World",
    "u": "naïve ÄÖ straße 👩‍👧 ΑΣ", "ws": "  \t pad \n ", "lines": "one\ntwo\n\nthree", "list": [3, 1, 2], "words": ["b", "A", "c"],
    "d": {"b": 1, "a": [1, {"x": None}], "C": "q\"'\\\n"}, "empty": [], "items_": {"items": 5, "keys": 6},
    "people": [{"name": "Zoe", "age": 30, "tag": {"k": 1}}, {"name": "adam", "age": 25, "tag": {"k": 2}},
               {"name": "Bob", "age": 30}],
    "messages": [{"role": "system", "content": "Be <b>brief</b>."}, {"role": "user", "content": "Hi é"},
                 {"role": "assistant", "content": None}],
}
S = []


def add(*sources):
    S.extend(sources)


# --- output and literals
add("{{ 1 }} {{ -1 }} {{ 1.0 }} {{ 1e22 }} {{ 1e16 }} {{ 123456789012345680.0 }} {{ 1e-5 }} {{ 0.0001 }}",
    "{{ 0.1 + 0.2 }} {{ 1/3 }} {{ 2/3 }} {{ 100.0 }} {{ 1.5e300 * 1e10 }} {{ 5e-324 }} {{ -0.0 }}",
    "{{ 1_000 }} {{ 0x1F }} {{ 0o17 }} {{ 0b101 }} {{ 1_0.5_0 }} {{ 1e3 }}", "{{ 007 }}",
    "{{ true }} {{ True }} {{ false }} {{ none }} {{ None }}", "{{ 'a' 'b' \"c\" }}",
    r"{{ 'tab\there\n\x41\u00e9\U0001F600\101\\ \' \q \/ end' }}", r"{{ 'line\
joined' }}", r"{{ '\x4' }}", r"{{ '\é' }}",
    "{{ [1, 'a', none, true, 1.5, [2], {'k': 'v'}] }}", "{{ (1,) }} {{ (1, 2) }} {{ () }} {{ 1, 2 }}",
    "{{ {'a': 1, 2: 'b', none: [], true: 0} }}", "{{ {'a': 1, 'a': 2} }}", "{{ [1, 2,] }} {{ {'a': 1,} }}",
    "{{ ['it\\'s', 'say \"x\"', 'both \\' \"', 'nl\\n', 'é', '\\u200d', '\\x07'] }}", "{{ d }}", "{{ u }}",
    "{{ [u] }}", "{{ big }} {{ big + 1 }}", "{{ {[1]: 2} }}", "{{ {(1, 2): 3}[(1, 2)] }}", "{{ {1: 'x'}[1.0] }} {{ {true: 'x'}[1] }}")
# --- white space and lexing
add("a\n{% if true %}\nb\n{% endif %}\nc", "a\n  {% if true %}  \nb\n  {% endif %}\nc", "a\n  {%+ if true %}x{% endif %}\n",
    "a {%- if true -%} b {%- endif -%} c", "  {{ 1 }}\n  {{- 2 -}}  \n {{ 3 }}\n\n", "x\n{# note #}\ny", "x {#- note -#} y",
    "  {# c #}\nz", "{% if true +%}\nkeep{% endif %}", "{% raw %}{{ no }} {% if %}{% endraw %}", "a\n  {% raw %}\n b {{ x }} \n  {% endraw %}\nc",
    "{%- raw -%}  x  {%- endraw -%}  y", "line1\r\nline2\rline3\n", "{{ 'a\r\nb' }}", "end\n", "end\n\n", "{{ '}}' }}{{ '%}' }}",
    "{{ {'a': {'b': 1}}['a']['b'] }}", "{{ {'a': {}} }}", "{{ {}}}", "a{{ '' }}b", "{ { % # } }", "{{", "{% if", "{{ 1", "{% if true %}x",
    "{# open", "{% raw %}x", "{{ 1 $ 2 }}", "{{ 'open }}", "{{ (1 }}", "{{ 1) }}", "{% endif %}", "{% unknown %}", "{{ }}", "{% %}",
    "\x0b  {% if true %}a{% endif %}", "a\n \u3000 {%- if true %}b{% endif %}", "{{ a.b. }}", "{{ x! }}", "{{ ; }}", "{{- 'x' -}}",
    "{%- set x = 1 -%}  y {{- x }}", "{%if true%}t{%else%}f{%endif%}", "{{ün}}{% set ün = 2 %}{{ ün }}")
# --- operators
add("{{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 7.5 // 2 }} {{ -7.5 % 2 }} {{ 7 / 2 }} {{ 4 / 2 }}",
    "{{ 2 ** 10 }} {{ 2 ** -1 }} {{ 2 ** 3 ** 2 }} {{ -2 ** 2 }} {{ 2.0 ** 0.5 }}", "{{ 1 + 2 * 3 - 4 / 2 }}", "{{ (1 + 2) * 3 }}",
    "{{ true + 1 }} {{ +true }} {{ -true }}", "{{ 'a' + 'b' }} {{ 'a' ~ 1 ~ none ~ 1.5 ~ [1] }}", "{{ 'ab' * 3 }} {{ 2 * [1, 2] }} {{ 'x' * 0 }} {{ 'x' * -1 }}",
    "{{ [1] + [2] }} {{ (1,) + (2,) }}", "{{ [1] + (2,) }}", "{{ 'a' + 1 }}", "{{ 1 + 'a' }}", "{{ none + 1 }}", "{{ 1 / 0 }}", "{{ 1 // 0 }}", "{{ 1 % 0 }}", "{{ 1.0 / 0 }}",
    "{{ 1 + 2 ~ 3 }}", "{{ 'a' ~ 1 + 2 }}", "{{ 1 == 1.0 }} {{ 1 == true }} {{ '1' == 1 }} {{ none == false }} {{ [1] == [1.0] }} {{ (1,) == [1] }}",
    "{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 3 > 2 >= 2 != 1 }}", "{{ 'a' < 'b' }} {{ 'Z' < 'a' }} {{ [1, 2] < [1, 3] }} {{ 'é' > 'z' }}", "{{ 1 < 'a' }}", "{{ none < 1 }}", "{{ {} < {} }}",
    "{{ {'a': 1, 'b': 2} == {'b': 2, 'a': 1} }}", "{{ 1 in [1, 2] }} {{ 3 not in [1, 2] }} {{ 'a' in 'abc' }} {{ 'k' in {'k': 1} }} {{ '' in 'x' }} {{ 2 in (1, 2) }} {{ 5 in range(10) }}",
    "{{ 1 in 'abc' }}", "{{ 1 in 5 }}", "{{ [1] in {'a': 1} }}", "{{ not true }} {{ not [] }} {{ not not 1 }}", "{{ 1 and 2 }} {{ 0 and 2 }} {{ 0 or 'x' }} {{ '' or none }} {{ 1 or missing.x }}",
    "{{ not 1 == 2 }} {{ not true or true }}", "{{ 1 if true else 2 }} {{ 1 if false else 2 }} {{ 1 if false }}|", "{{ 'a' if 0 else 'b' if 0 else 'c' }}", "{{ (1 if false) is defined }}",
    "{{ 'a' if true else missing.x.y }}", "{{ -n }} {{ - - n }} {{ +n }}", "{{ -'a' }}", "{{ -f|abs }} {{ -3|abs }}", "{{ 10 - 2 - 3 }} {{ 100 / 10 / 2 }} {{ 7 % 4 % 2 }}", "{{ 9223372036854775807 }}",
    "{{ 1.5 + 1 }} {{ 3 * 1.0 }} {{ 5 - 0.5 }}", "{{ (0.0)|string }} {{ 1e400 }}", "{{ 'x' in none }}", "{{ missing in [1] }} {{ 'a' in missing }}")
# --- access
add("{{ d.b }} {{ d['b'] }} {{ d.a[1].x }} {{ d['a'][0] }}", "{{ d.missing }}|{{ d['missing'] }}|", "{{ d.missing.deeper }}", "{{ missing }}|{{ missing.x }}", "{{ none.x }}|{{ n.x }}|{{ s.x }}|",
    "{{ list[0] }} {{ list[-1] }} {{ list[9] }}|{{ list['x'] }}|", "{{ list.0 }} {{ list.1 }}", "{{ items_.items }}", "{{ items_['items'] }} {{ items_.get('items') }}", "{{ d.items()|list|length }}",
    "{{ list[1:] }} {{ list[:-1] }} {{ list[::-1] }} {{ list[::2] }} {{ list[5:] }} {{ list[-2:] }} {{ (1, 2, 3)[1:] }}", "{{ s[1:4] }} {{ s[::-1] }} {{ s[::2] }} {{ s[-5:] }} {{ s[3] }} {{ s[99] }}|",
    "{{ u[2:9] }} {{ u[::-1] }} {{ u[0] }} {{ u|length }}", "{{ list[::0] }}", "{{ missing[1:] }}", "{{ no[1:] }}", "{{ list['a':] }}", "{{ d[1:] }}", "{{ s[1:100:3] }} {{ s[100:] }}| {{ s[-100:2] }}",
    "{{ range(10)[2:8:2]|list }} {{ range(5)[1] }} {{ range(3) }} {{ range(1, 9, 2) }}", "{{ d.__class__ }}|", "{{ d.__class__.x }}", "{{ ''.__class__.__mro__ }}", "{{ s._x }}|", "{{ list[true] }}", "{{ list[1.0] }}|",
    "{{ 'abc'.upper }}"[:0] + "{{ 'abc'.upper is callable }}", "{{ d.keys()|list }} {{ d.values()|list|length }} {{ d.items()|first }}", "{{ d.keys() }} {{ {'a': 1}.values() }} {{ {'a': 1}.items() }}",
    "{{ d.get('b') }} {{ d.get('zz') }} {{ d.get('zz', 5) }} {{ d.get('zz', default=1) }}", "{{ d.copy() == d }} {{ list.copy() }} {{ list.index(1) }} {{ list.count(3) }}", "{{ list.index(9) }}", "{{ s(1) }}", "{{ missing() }}", "{{ none() }}",
    "{{ list.append(1) }}", "{{ d.update({}) }}", "{{ d.pop('b') }}", "{{ list.append is defined }} {{ d.pop is defined }}", "{{ list.append }}|", "{{ list.sort() }}", "{{ d.a.b }}|", "{{ [1, 2].first }}|", "{{ d['a', 'b'] }}|", "{{ list[missing] }}|", "{{ d[none] }}|")
# --- statements
add("{% set x = 1 %}{{ x }}{% set x = x + 1 %}{{ x }}", "{% set a, b = 1, 2 %}{{ a }}{{ b }}", "{% set (a, (b, c)) = (1, (2, 3)) %}{{ a + b + c }}", "{% set a, b = [1] %}", "{% set a, b = [1, 2, 3] %}", "{% set a = 1, 2 %}{{ a }}",
    "{% set x %}a{{ 1 }}b{% endset %}[{{ x }}]", "{% set x | upper | trim %}  abc {{ n }} {% endset %}[{{ x }}]", "{% set true = 1 %}", "{% set x.y = 1 %}", "{% set ns = namespace(a=1, b='x') %}{% set ns.a = ns.a + 1 %}{% set ns.c = 5 %}{{ ns.a }}{{ ns.b }}{{ ns.c }}{{ ns.d }}",
    "{% set ns = namespace({'a': 1}, b=2) %}{{ ns.a }}{{ ns['b'] }}{{ ns }}", "{% set ns = namespace(x=1) %}{% for i in range(3) %}{% set ns.x = ns.x * 2 %}{% endfor %}{{ ns.x }}", "{% set x = 1 %}{% for i in [1, 2] %}{{ x }}{% set x = 2 %}{{ x }}{% endfor %}{{ x }}",
    "{% if n == 1 %}a{% elif n == 3 %}b{% elif n == 3 %}c{% else %}d{% endif %}", "{% if empty %}a{% else %}b{% endif %}{% if missing %}c{% endif %}", "{% if true %}{% set z = 5 %}{% endif %}{{ z }}", "{% if 1, 2 %}y{% endif %}",
    "{% with a = 1, b = 2 %}{{ a + b }}{% set a = 9 %}{{ a }}{% endwith %}{{ a }}|", "{% set a = 1 %}{% with a = 2, b = a %}{{ a }}{{ b }}{% endwith %}", "{% filter upper %}abc {{ s }}{% endfilter %}", "{% filter replace('a', 'b') | upper %}banana{% endfilter %}",
    "{% block x %}in {{ n }}{% endblock %}{% block y scoped %}{% endblock y %}", "{% set q = 1 %}{% block x %}{{ q }}{% endblock %}", "{% generation %}a{% set g = 1 %}{{ g }}{% endgeneration %}{{ g }}|", "{% print 1, 'a' %}", "{% include 'x' %}", "{% if false %}{% include 'x' %}{% endif %}ok",
    "{% extends 'x' %}", "{% import 'x' as y %}", "{% do 1 %}", "{% if true: %}x{% endif %}", "{% set x = {'a': 1} %}{% set x.a = 2 %}", "{% set ns = namespace() %}{% set ns.a, ns.b = 1, 2 %}{{ ns.a }}{{ ns.b }}", "{% set x = 5 if false %}{{ x is defined }}")
# --- loops
add("{% for i in list %}{{ i }}{% endfor %}", "{% for i in [] %}x{% else %}none{% endfor %}{% for i in [1] %}x{% else %}none{% endfor %}", "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k in d %}{{ k }}{% endfor %}", "{% for c in 'aé👩' %}[{{ c }}]{% endfor %}",
    "{% for i in 'abc' %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.depth0 }} {% endfor %}", "{% for i in [1, 2, 3] %}{{ loop.previtem }}<{{ i }}>{{ loop.nextitem }};{% endfor %}",
    "{% for i in range(6) if i % 2 %}{{ i }}{{ loop.index }}{{ loop.length }}{{ loop.last }} {% endfor %}", "{% for i in range(9) %}{% if i == 3 %}{% break %}{% endif %}{% if i == 1 %}{% continue %}{% endif %}{{ i }}{% endfor %}", "{% for i in [1, 1, 2, 2, 1] %}{{ loop.changed(i) }} {% endfor %}",
    "{% for i in range(5) %}{{ loop.cycle('a', 'b') }}{% endfor %}", "{% for i in [1, [2, [3]]] recursive %}{% if i is iterable %}({{ loop(i) }}){{ loop.depth }}{% else %}{{ i }}{% endif %}{% endfor %}", "{% for i in [1] %}{{ loop([1]) }}{% endfor %}", "{% for i in none %}{% endfor %}", "{% for i in 5 %}{% endfor %}", "{% for i in missing %}x{% else %}e{% endfor %}",
    "{% for a, b in [(1, 2), [3, 4]] %}{{ a + b }} {% endfor %}", "{% for a, b in [(1, 2, 3)] %}{% endfor %}", "{% for i in [1, 2] %}{% for j in 'ab' %}{{ loop.index }}{% endfor %}{{ loop.index }} {% endfor %}", "{% for i in [1, 2] %}{% set outer = loop %}{% for j in 'ab' %}{{ outer.index }}{{ j }}{% endfor %}{% endfor %}", "{% for i in range(3) %}{{ i }}{% endfor %}{{ i }}|",
    "{% for i in list|sort %}{{ i }}{{ ', ' if not loop.last }}{% endfor %}", "{% set ns = namespace(ok=true) %}{% for i in range(5) if ns.ok %}{{ i }}{% if i == 2 %}{% set ns.ok = false %}{% endif %}{% endfor %}", "{% for i in (x for x in y) %}{% endfor %}", "{% for i in [1,2,3] %}{{ loop }} {% endfor %}", "{% for loop in [1] %}{% endfor %}",
    "{% break %}", "{% for i in [1] %}{% macro m() %}{% break %}{% endmacro %}{% endfor %}", "{% for i in range(4) %}{% set x %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endset %}{{ x }}{% endfor %}", "{% for i in people|map(attribute='name') %}{{ loop.index }}{{ i }}{{ loop.length }} {% endfor %}", "{% for i in range(3) %}{% if loop.first %}{% set y = 'f' %}{% endif %}{{ y }}|{% endfor %}",
    "{% for m in messages if m.role != 'system' %}{{ m.role }}:{{ m.content }}\n{% endfor %}", "{% for i in {'b': 1}|dictsort %}{{ i }}{% endfor %}", "{% for i in [3,4] %}{{ loop.nextitem is defined }}{% endfor %}", "{% for i in range(2) %}{{ loop.missing }}|{% endfor %}", "{% for i in [[1,2],[3]] %}{{ i|sum }}{{ loop.length }}{% endfor %}",
    "{{ loop }}|", "{% for i in [1] %}{{ super }}|{% endfor %}", "{% for i in range(100001) %}{% endfor %}", "{{ range(100000)|length }} {{ range(5, 0, -2)|list }} {{ range(0)|list }}", "{{ range(1, 2, 0) }}", "{{ range('a') }}", "{{ range() }}")
# --- macros
add("{% macro m(a, b=2, c=a) %}{{ a }}-{{ b }}-{{ c }}{% endmacro %}{{ m(1) }} {{ m(1, 3) }} {{ m(b=5, a=4) }} {{ m() }}|", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}{% endmacro %}{{ m(z=1) }}", "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}",
    "{% macro m(x) %}<{{ caller() }}{{ x }}>{% endmacro %}{% call m(1) %}body {{ n }}{% endcall %}", "{% macro m() %}{{ caller(1, 2) }}{% endmacro %}{% call(a, b) m() %}{{ a }}+{{ b }}{% endcall %}", "{% macro m() %}x{% endmacro %}{% call m() %}{% endcall %}", "{% macro m() %}{{ caller is defined }}{% endmacro %}{{ m() }}", "{% macro f(k) %}{{ k }}{% if k > 0 %}{{ f(k - 1) }}{% endif %}{% endmacro %}{{ f(5) }}",
    "{% set x = 1 %}{% macro m() %}{{ x }}{% endmacro %}{% set x = 2 %}{{ m() }}", "{% macro m() %}{% set y = 3 %}{{ y }}{% endmacro %}{{ m() }}{{ y }}|", "{% macro m(a, b=1, *c) %}{% endmacro %}", "{% macro m(a=1, b) %}{% endmacro %}", "{{ m }}{% macro m() %}{% endmacro %}{{ m }} {{ m.name }} {{ m.arguments }}", "{% macro m(x) %}{{ x|upper }}{% endmacro %}{{ ['a', 'b']|map('upper')|join }}{{ m(m('q')) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(*[1]) }}{{ m(**{'a': 2}) }}", "{% macro m() -%} \n x \n {%- endmacro %}[{{ m() }}]", "{% macro outer() %}{% macro inner() %}i{% endmacro %}{{ inner() }}{% endmacro %}{{ outer() }}{{ inner is defined }}", "{% macro m(a, a) %}{% endmacro %}", "{% macro m(d={}) %}{{ d }}{% endmacro %}{{ m() }}{{ m(none) }}", "{{ m(1) }}{% macro m(x) %}{% endmacro %}", "{% macro m(x) %}{{ x is defined }}{{ x }}{% endmacro %}{{ m() }}",
    "{% macro m(a) %}{{ a.b.c }}{% endmacro %}{{ m() }}", "{% call 5 %}{% endcall %}", "{% macro m(caller=none) %}{{ caller() }}{% endmacro %}{% call m() %}z{% endcall %}", "{% macro m(a, kwargs) %}{{ kwargs }}{% endmacro %}{{ m(1, 2) }}", "{% for x in [1,2] %}{% macro m() %}{{ x }}{% endmacro %}{{ m() }}{% endfor %}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, a=2) }}")
# --- filters
add("{{ s|upper }} {{ s|lower }} {{ 'hello WORLD'|capitalize }} {{ 'hello wORLD-foo (bar)'|title }}", "{{ u|upper }} {{ u|lower }} {{ 'ǆabc'|capitalize }} {{ 'ΑΣ ΣΑ ΑΣ.'|lower }}", "[{{ ws|trim }}] [{{ 'xxaxx'|trim('x') }}] [{{ none|trim }}] [{{ 5|trim }}]", "{{ 'aXbX'|replace('X', '-') }} {{ 'aaa'|replace('a', 'b', 2) }} {{ 'ab'|replace('', '-') }} {{ 1|replace(1, 2) }}",
    "{{ list|join(', ') }} {{ list|join }} {{ people|join('/', attribute='name') }} {{ [1, none, 'x']|join('-') }} {{ 'abc'|join('.') }} {{ 5|join }}", "{{ list|length }} {{ d|count }} {{ s|length }} {{ missing|length }}", "{{ 5|length }}", "{{ list|first }} {{ list|last }} {{ empty|first }}| {{ s|first }}{{ s|last }} {{ d|first }} {{ d|last }}", "{{ 5|first }}",
    "{{ list|sort }} {{ words|sort }} {{ words|sort(case_sensitive=true) }} {{ list|sort(reverse=true) }} {{ people|sort(attribute='name')|map(attribute='name')|join(',') }} {{ people|sort(attribute='age,name')|map(attribute='name')|join(',') }}", "{{ [1, 'a']|sort }}", "{{ [2, 1.5, true]|sort }}", "{{ list|reverse|list }} {{ s|reverse }} {{ 'aé'|reverse }}", "{{ list|min }} {{ list|max }} {{ words|min }} {{ people|max(attribute='age') }} {{ empty|max }}|",
    "{{ list|sum }} {{ people|sum(attribute='age') }} {{ list|sum(start=10) }} {{ [0.1, 0.2]|sum }}", "{{ ['a']|sum }}", "{{ [1, 1, 2, 'a', 'A']|unique|list }} {{ people|unique(attribute='age')|map(attribute='name')|list }}", "{{ d|dictsort }} {{ {'b': 1, 'A': 2}|dictsort(true) }} {{ {'b': 1, 'a': 2}|dictsort(by='value') }} {{ {'b': 1, 'a': 2}|dictsort(reverse=true) }}", "{{ list|dictsort }}", "{{ d|dictsort(by='x') }}",
    "{{ people|map(attribute='tag.k')|list }} {{ people|map(attribute='tag.k', default=0)|list }} {{ [[1, 2], [3]]|map('first')|list }} {{ ['a']|map('replace', 'a', 'b')|list }} {{ [[5]]|map(attribute=0)|list }}", "{{ list|map|list }}", "{{ list|map('nope')|list }}", "{{ empty|map('nope')|list }}", "{{ range(6)|select('odd')|list }} {{ range(6)|reject('divisibleby', 3)|list }} {{ [0, 1, '', 'x', none]|select|list }} {{ list|select('gt', 1)|list }} {{ [0, 1]|reject|list }}",
    "{{ people|selectattr('age', 'equalto', 30)|map(attribute='name')|list }} {{ people|rejectattr('tag')|map(attribute='name')|list }} {{ people|selectattr('tag', 'defined')|list|length }} {{ people|selectattr('tag.k', '>', 1)|list|length }}", "{{ people|selectattr|list }}", "{{ people|selectattr('age', 'nope')|list }}", "{{ people|groupby('age') }} {% for g, l in people|groupby('age') %}{{ g }}:{{ l|length }} {% endfor %}{% for g in people|groupby('age') %}{{ g.grouper }}{{ g.list|length }}{% endfor %}",
    "{{ [{'k': 'A'}, {'k': 'a'}, {'k': 'b'}]|groupby('k')|list }} {{ [{'k': 1}, {}]|groupby('k', default=0) }}", "{{ range(7)|batch(3)|list }} {{ range(7)|batch(3, 0)|list }} {{ range(7)|slice(3)|list }} {{ range(7)|slice(3, 'x')|list }}", "{{ missing|default('x') }} {{ none|default('x') }} {{ ''|default('x', true) }} {{ e|d('y', boolean=true) }} {{ missing|default }}| {{ d.zz|default(d.b) }}",
    "{{ '42'|int }} {{ '4.7'|int }} {{ 'x'|int }} {{ 'x'|int(-1) }} {{ 4.9|int }} {{ '0x1f'|int(base=16) }} {{ '1f'|int(0, 16) }} {{ true|int }} {{ none|int(7) }} {{ ' 12 '|int }} {{ '1_000'|int }} {{ '-5'|int }} {{ [1]|int }} {{ ''|int }}", "{{ missing|int }}", "{{ '1.5'|float }} {{ 'x'|float }} {{ 3|float }} {{ '1e3'|float }} {{ 'x'|float(2.5) }} {{ 'inf'|float }} {{ 'nan'|float }}", "{{ 2.5|round }} {{ 3.5|round }} {{ 42|round }} {{ 2.567|round(2) }} {{ 2.1|round(0, 'ceil') }} {{ 2.9|round(method='floor') }} {{ 1234|round(-2) }} {{ -0.5|round }} {{ 2.675|round(2) }}",
    "{{ 1|round(method='x') }}", "{{ -5|abs }} {{ -1.5|abs }} {{ neg|abs }}", "{{ 'a'|abs }}", "{{ 'a b c'|wordcount }} {{ 'x'|center(5) }}| {{ s|string }} {{ 5|string + 'a' }} {{ none|string }}", "{{ lines|indent }}|{{ lines|indent(2, first=true) }}|{{ lines|indent(2, blank=true) }}|{{ lines|indent('> ') }}|{{ 'x\n'|indent }}|{{ ''|indent(first=true) }}|", "{{ 5|indent }}", "{{ missing|indent }}",
    "{{ 'a long sentence here'|truncate(10) }} {{ 'a long sentence here'|truncate(10, true) }} {{ 'abcdefghij'|truncate(8, true, '') }} {{ 'abcdefghijkl'|truncate(5, true, '!', 0) }} {{ 'short'|truncate(4) }}", "{{ '<a href=\"x\">&\\'</a>'|escape }} {{ '<b>'|e }} {{ '<b>'|safe }} {{ '<b>'|safe|escape }} {{ '<b>'|safe|forceescape }}", "{{ ('<a>'|safe) + '<b>' }} {{ '<b>' + ('<a>'|safe) }} {{ ('<a>'|safe) ~ '<b>' }} {{ ['<x>', '<y>'|safe]|join('<') }} {{ 'a'|safe is escaped }} {{ 'a' is escaped }}",
    "{{ '<p>hi  <b>x</b></p> &lt;'|striptags }}", "{{ 'a b/c?é&'|urlencode }} {{ {'a b': 'c/d', 'x': 1}|urlencode }} {{ [('a', 1)]|urlencode }}", "{{ {'class': 'a\"b', 'id': 1, 'no': none}|xmlattr }}", "{{ 1000|filesizeformat }} {{ 1|filesizeformat }} {{ 999|filesizeformat }} {{ 123456789|filesizeformat }} {{ 1024|filesizeformat(true) }}", "{{ '%s is %d and %.2f %%'|format('x', 3, 1.234) }} {{ '%(a)s'|format(a=1) }}", "{{ d|items|list }} {{ missing|items|list }}", "{{ list|items|list }}", "{{ d|attr('b') }}|{{ s|attr('upper') is callable }}", "{{ list|list }} {{ 'abc'|list }} {{ d|list }}", "{{ 5|list }}",
    "{{ x|nope }}", "{% if false %}{{ x|nope }}{% endif %}ok", "{{ (1|nope) if false else 2 }}", "{% if true %}{{ x|nope }}{% endif %}", "{% if false %}{% for i in [1] %}{{ i|nope }}{% endfor %}{% endif %}", "{{ 1 is nope }}", "{{ s|upper|lower|title|length }}", "{{ 'x'|upper() }} {{ list|join(d='+') }}", "{{ 'x'|upper(1) }}", "{{ list|join(x=1) }}", "{{ missing|upper }}|{{ missing|join }}|{{ missing|list }}|{{ missing|trim }}|{{ missing|string }}|", "{{ missing|sort }}|{{ missing|map('upper')|list }}|{{ missing|first }}|", "{{ people|map(attribute='name')|map('lower')|sort|join(' ') }}", "{{ s|replace('l', 'L')|replace('World', s) }}")
# --- tojson
add("{{ d|tojson }}", "{{ u|tojson }} {{ u|tojson(ensure_ascii=true) }}", "{{ d|tojson(indent=2) }}", "{{ {'a': [], 'b': {}, 'c': [1, [2]]}|tojson(indent=4) }}", "{{ {'b': 1, 'a': 2}|tojson(sort_keys=true) }} {{ {'b': 1}|tojson(separators=(',', ':')) }} {{ [1, 2]|tojson(indent=1, separators=(';', '=')) }}", "{{ [1.0, 1e100, true, none, 'x</script>&\\'', 1e-7]|tojson }}", "{{ {1: 2, none: 3, true: 4, 1.5: 5}|tojson }}", "{{ missing|tojson }}", "{{ [missing]|tojson }}", "{{ range(3)|tojson }}", "{{ (1, 2)|tojson }}", "{{ {(1, 2): 3}|tojson }}", "{{ 'a\\x7f\\u2028\\x01'|tojson }}", "{{ [1, {'a': 2}]|tojson(indent=0) }}", "{{ [1]|tojson(indent='--') }}", "{{ 'nan'|float|tojson }}", "{{ messages|tojson }}", "{{ ('<'|safe)|tojson }}", "{{ 5|tojson ~ 'x' }}", "{{ d.items()|list|tojson }}")
# --- tests
add("{{ 1 is odd }} {{ 2 is even }} {{ 9 is divisibleby 3 }} {{ 9 is divisibleby(2) }}", "{{ 'a' is odd }}", "{{ x is defined }} {{ n is defined }} {{ x is undefined }} {{ d.q is defined }} {{ x is not defined }}", "{{ none is none }} {{ n is none }} {{ true is true }} {{ 1 is true }} {{ false is false }} {{ t is boolean }} {{ 1 is boolean }}",
    "{{ 1 is integer }} {{ true is integer }} {{ 1.0 is integer }} {{ 1.0 is float }} {{ 1 is number }} {{ true is number }} {{ '1' is number }}", "{{ s is string }} {{ 1 is string }} {{ d is mapping }} {{ list is mapping }} {{ list is sequence }} {{ s is sequence }} {{ d is sequence }} {{ 1 is sequence }} {{ x is sequence }} {{ range(2) is sequence }}",
    "{{ list is iterable }} {{ s is iterable }} {{ 1 is iterable }} {{ none is iterable }} {{ x is iterable }} {{ d is iterable }}", "{{ 'abc' is lower }} {{ 'ABC' is upper }} {{ 'aB' is lower }} {{ '1' is upper }}", "{{ 1 is eq 1 }} {{ 1 is equalto 2 }} {{ 1 is ne 2 }} {{ 1 is lt 2 }} {{ 2 is ge 2 }} {{ 3 is gt 2 }} {{ 1 is le(0) }} {{ 1 is lessthan 2 }} {{ 1 is greaterthan 2 }}", "{{ 1 is in [1, 2] }} {{ 'a' is in 'b' }} {{ 1 is not in [2] }}",
    "{{ none is sameas none }} {{ true is sameas true }} {{ 1 is sameas true }} {{ d is sameas d }}", "{{ range is callable }} {{ 1 is callable }} {{ s.upper is callable }}", "{{ 'upper' is filter }} {{ 'nope' is filter }} {{ 'odd' is test }}", "{{ not 1 is odd }} {{ 1 is odd and 2 is even }} {{ 3 is odd == true }}", "{{ n is string or n is number }}", "{{ 1 is defined is true }}", "{{ x.y is defined }}", "{{ 'a' if x is defined else 'b' }}", "{{ 1 + 2 is odd }}", "{{ [] is defined }} {{ x is none }}", "{{ n is divisibleby }}", "{{ messages[2].content is none }} {{ messages[0].content is string }}")
# --- string methods
add("{{ s.upper() }} {{ s.lower() }} {{ 'a-b c'.title() }} {{ 'aBC'.capitalize() }} {{ 'aB'.swapcase() }} {{ 'Straße'.casefold() }} {{ \"they're\".title() }}", "{{ s.split() }} {{ s.split(' ') }} {{ 'a,b,c'.split(',', 1) }} {{ 'a,b,c'.rsplit(',', 1) }} {{ ' a  b '.split() }} {{ ' a  b c'.split(none, 1) }} {{ ' a b  c '.rsplit(maxsplit=1) }} {{ ''.split() }} {{ ''.split(',') }} {{ ' a b  '.split(none, 1) }} {{ ' a b '.split(none, 0) }} {{ ' a b '.rsplit(none, 0) }} {{ 'a b'.split(none, 5) }} {{ 'aXXb'.split('XX') }}", "{{ 'a'.split('') }}", "{{ 'a'.split(1) }}",
    "[{{ ws.strip() }}] [{{ ws.lstrip() }}] [{{ ws.rstrip() }}] [{{ 'xyaxy'.strip('yx') }}] [{{ 'éaé'.strip('é') }}] [{{ 'aab'.lstrip('a') }}] [{{ '\u3000x\u00a0'.strip() }}]", "{{ s.startswith('He') }} {{ s.endswith(('x', 'ld')) }} {{ s.startswith('e', 1) }} {{ s.endswith('') }} {{ s.startswith('Hello World!!') }}", "{{ s.startswith(1) }}", "{{ s.find('o') }} {{ s.rfind('o') }} {{ s.find('z') }} {{ s.index('W') }} {{ u.find('Ö') }} {{ s.find('o', 5) }} {{ s.find('o', -3) }} {{ s.find('', 99) }} {{ s.rfind('') }}", "{{ s.index('z') }}",
    "{{ s.count('l') }} {{ s.count('') }} {{ 'aaa'.count('aa') }} {{ s.replace('l', 'L', 1) }} {{ s.replace('', '.') }} {{ s.replace('Hello ', '') }} {{ 'aaa'.replace('a', 'b', -1) }}", "{{ ', '.join(['a', 'b']) }} {{ '-'.join('abc') }}", "{{ ', '.join([1]) }}", "{{ 'a\\nb\\r\\nc'.splitlines() }} {{ 'a\\n\\n'.splitlines() }} {{ 'a\\nb'.splitlines(true) }} {{ ''.splitlines() }}", "{{ 'a=b=c'.partition('=') }} {{ 'a=b=c'.rpartition('=') }} {{ 'abc'.partition('=') }} {{ 'abc'.rpartition('=') }}",
    "{{ 'x'.center(4) }}|{{ 'x'.center(5, '*') }}|{{ 'xx'.center(5, '*') }}|{{ 'x'.ljust(3) }}|{{ 'x'.rjust(3, '0') }}|{{ '-5'.zfill(4) }}|{{ '5'.zfill(3) }}|{{ 'a\\tb'.expandtabs(4) }}", "{{ 'abc'.removeprefix('a') }} {{ 'abc'.removesuffix('c') }} {{ 'abc'.removeprefix('x') }}", "{{ 'abc'.isalpha() }} {{ 'a1'.isalnum() }} {{ '12'.isdigit() }} {{ '²'.isdigit() }} {{ '²'.isdecimal() }} {{ '½'.isnumeric() }} {{ ' '.isspace() }} {{ ''.isalpha() }} {{ 'é'.isalpha() }} {{ 'aB'.islower() }} {{ 'AB1'.isupper() }} {{ 'Ab Cd'.istitle() }} {{ 'a'.isascii() }} {{ 'é'.isascii() }} {{ '\\n'.isprintable() }}",
    "{{ '{} {}'.format(1, 'a') }} {{ '{1} {0}'.format(1, 2) }} {{ '{a}'.format(a=3) }} {{ '{{}}'.format() }} {{ '{0[1]} {1.b}'.format(list, d) }} {{ '{!r}'.format('x') }}", "{{ '{:>5}|{:<5}|{:^5}|{:*^7}|{:05d}|{:+d}|{:,}|{:.2f}|{:x}|{:#x}|{:b}|{:e}|{:%}|{:.3}|{:10.3f}|{:_}|{:g}'.format('a', 'b', 'c', 'd', 42, 5, 1234567, 3.14159, 255, 255, 5, 12345.678, 0.25, 'abcdef', 2.5, 1234567, 0.0001) }}", "{{ '{}'.format() }}", "{{ '{a}'.format(1) }}", "{{ '{'.format(1) }}", "{{ '{} {0}'.format(1) }}", "{{ '{:d}'.format('x') }}", "{{ '{:{}}|'.format('a', 4) }} {{ '{:.{p}f}'.format(1.23456, p=2) }}", "{{ '{}'.format(none) }} {{ '{}'.format([1]) }} {{ '{}'.format(true) }} {{ '{:d}'.format(true) }} {{ '{:>6}'.format(1.5) }}", "{{ '{a.b}'.format_map({'a': d}) }}",
    "{{ '%s %r %5d|%-5d|%05d|%+d|%x|%X|%o|%.3f|%e|%g|%c|%%' % ('a', 'b', 1, 2, 3, 4, 255, 255, 8, 1.5, 1.5, 1.5, 'z') }}", "{{ '%s' % 5 }} {{ '%s' % [1] }} {{ '%(a)s %(b)d' % {'a': 1, 'b': 2} }} {{ '%5.1f|%-8s|%.2s' % (2.25, 'ab', 'abc') }} {{ '%*d' % (5, 3) }}", "{{ '%s' % () }}", "{{ '%d' % 'a' }}", "{{ '%s' % (1, 2) }}", "{{ 'a' % 1 }}", "{{ '%s' % missing }}|", "{{ 'a'.nope() }}", "{{ s.upper(1) }}")
add("{{ '{:012,g}|{:>012.5E}|{:^012,.2%}|{:*^05}|{:=05d}|{:#012_x}|{:.3}|{:.0}|{:5c}|'.format(-1, true, -7, 3, 4, 65535, 123.0, 3.0, 97) }}", "{{ '{:,x}'.format(5) }}", "{{ '{:5.1c}'.format(5) }}", "{{ '{:+s}'.format('x') }}",
    "{{ '%c|%5c|%5a|%-8a|%#.3x|%+05d|%-05d|% d' % (97, 'b', 1, 'é', 5, 3, 4, 5) }}", "{{ 'x' % missing }}", "{{ {missing: 1} }} {{ {missing: 1}[missing] }} {{ {}.get(missing) }}", "{{ [1, 2]|truncate(5) }} {{ missing|truncate }}|", "{{ ('a<'|safe)|list }} {{ ('<'|safe)|first is escaped }} {{ ('<b'|safe)[0] is escaped }}",
    "{{ '{!a:>9}'.format('é') }} {{ '{!s:.2}'.format(12.5) }}")
# --- functions
add("{{ raise_exception('stop') }}", "{% if false %}{{ raise_exception('stop') }}{% endif %}ok", "{{ strftime_now('%Y-%m-%d %H:%M:%S') }} {{ strftime_now('%d %b %Y, %A %B %a %j %U %W %w %u %y %I %p %e %-d %-m %% %F %T %D %R %G-W%V %C %h') }}", "{{ strftime_now('plain') }}|{{ strftime_now('') }}|", "{{ dict(a=1, b=2) }} {{ dict({'x': 1}, y=2) }} {{ dict([('a', 1)]) }}", "{% set j = joiner('; ') %}{{ j() }}a{{ j() }}b{{ j() }}c", "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.reset() }}{{ c.next() }}", "{{ namespace() }}", "{{ cycler() }}", "{{ range(3)|list }}{{ range(2, 5)|list }}", "{{ lipsum is defined }}"[:0] + "{{ range.x }}|")
# --- corners: scopes, laziness, white space, literals
add("{{ [none,none]|sort }}", "{{ [d,d]|sort|length }}", "{{ people|sort(attribute=\"zz\")|map(attribute=\"name\")|list }}", "{{ people|map(attribute=\"name.x.y\")|first }}",
    "{{ [1, \"a\", none, 2.5]|map(\"upper\")|first }} {{ [1,missing.x]|map(\"abs\")|first }}", "{{ [\"a\",1,missing]|map(\"replace\",\"a\",\"b\")|first }}{{ [1,\"a\"]|select(\"odd\")|first }}",
    "{{ [1,\"a\"]|select(\"odd\")|list }}", "{% for x in [1,2,\"a\"]|map(\"abs\") %}{{ x }}{% if x == 2 %}{% break %}{% endif %}{% endfor %}",
    "{% for x in [1,2,\"a\"]|map(\"abs\") %}{{ x }}{% endfor %}",
    "{{ 5|filesizeformat }} {{ \"1000\"|filesizeformat }} {{ -0.0|filesizeformat }} {{ 1e25|filesizeformat }} {{ \"1e7\"|filesizeformat(true) }} {{ -5000|filesizeformat }}",
    "{{ 1.5|round(none) }} {{ 2.5|round(none) }} {{ 7|round(none) }}", "{{ \"12\"|int(5,\"q\") }} {{ \"x\"|int(5,\"q\") }}{{ 12|int(5,\"q\") }}", "{% set ns=namespace() %}{% set ns._x = 1 %}",
    "{{ namespace(_x=1) }}", "{{ range(5).index(3) }} {{ range(0,10,2).count(4) }} {{ 2.0.is_integer() }} {{ (2.5).is_integer() }}", "{% for i in [1,2] %}{% continue %}{% else %}E{% endfor %}",
    "{% for i in [1,2] %}{% if i==2 %}{% continue %}{% endif %}{% else %}E{% endfor %}", "{{ dict(a=1, a=2) }}", "{% if false %}{{ dict(a=1, a=2) }}{% endif %}",
    "{{ '\"\\x7f'|tojson(ensure_ascii=true) }}", "{% set g = list|map(\"string\") %}{{ g|first }}{{ g|list }}", "{{ strftime_now(\"%#a %#p %^c %-Q %#h %^b %-d %f %e\") }}",
    "{% for x in range(2) %}{% set q %}{{ n }}{{ q }}{% endset %}{{ q }}{% endfor %}", "{% set n %}{% if true %}{{ n.x.y }}{% endif %}{% endset %}{{ n }}",
    "{% for x in range(2) %}{% set n %}{{ n.x.y }}{% endset %}{{ n }}{% endfor %}", "{% for x in list %}{% set n = n %}{{ n }}{% endfor %}",
    "{% for x in list %}{% set n = n ~ x %}{{ n }};{% endfor %}{{ n }}", "{% for x in list %}{{ n }}{% set n = 5 %}{{ n }};{% endfor %}{{ n }}",
    "{% for n in list %}{{ n }}{% set n = 5 %}{{ n }};{% endfor %}{{ n }}", "{% with n = 5 %}{% set n = n + 1 %}{{ n }}{% endwith %}{{ n }}",
    "{% macro m() %}{{ n }}{% set n = 4 %}{{ n }}{% endmacro %}{{ m() }}{{ n }}", "{% filter upper %}{% set s = 'q' %}{{ s }}{% endfilter %}{{ s }}",
    "{% generation %}{% set s = 'q' %}{{ s }}{% endgeneration %}{{ s }}", "{% call(x) m() %}{% endcall %}", "{% if x %}{% set y = 1 %}{% else %}{% set y = 2 %}{% endif %}{{ y }}",
    "{% for i in list %}{% if i == 1 %}{% set y = 1 %}{% endif %}[{{ y }}]{% endfor %}", "{% set y = 0 %}{% for i in list %}{% if i == 1 %}{% set y = 1 %}{% endif %}[{{ y }}]{% endfor %}{{ y }}",
    "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}B{% endmacro %}{{ a() }}", "{% macro a() %}{{ q }}{% endmacro %}{% set q = 1 %}{{ a() }}{% set q = 2 %}{{ a() }}",
    "{% for i in list %}{% macro a() %}{{ i }}{{ q }}{% endmacro %}{% set q = i %}{{ a() }}{% endfor %}{{ a is defined }}", "{% if true %}{% macro a() %}A{% endmacro %}{% endif %}{{ a() }}",
    "{% for i in list %}{{ loop.index }}{% for j in list %}{{ loop.index }}{% endfor %}{{ loop.index }}{% endfor %}",
    "{% for i in list %}{% set loop2 = loop %}{% for j in list %}{{ loop2.index }}{% endfor %}{% endfor %}", "{% set x = 1 %}{% for i in list if x == 1 %}{% set x = 2 %}{{ i }}{% endfor %}",
    "{% set ns = namespace(x=1) %}{% for i in list if ns.x == 1 %}{% set ns.x = 2 %}{{ i }}{% endfor %}", "{% for i in list if loop.index %}{{ i }}{% endfor %}",
    "{% for i in list if i > 1 %}{{ loop.index }}/{{ loop.length }}{{ loop.last }}{% endfor %}", "{% for k, v in d.items() %}{{ loop.index }}{{ k }}{{ loop.nextitem }}{% endfor %}",
    "{% block q %}{{ x }}{% set z = 1 %}{{ z }}{% endblock %}{{ z }}", "{% for i in list %}{% block q scoped %}{{ i }}{% endblock %}{% endfor %}",
    "{% for i in list %}{% block q %}[{{ i }}]{% endblock %}{% endfor %}", "{% macro m(a, b=a ~ 'x', c=b) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m('1') }}{{ m('1', c=3) }}",
    "{% macro m(a) %}{{ a is defined }}{{ a }}{{ caller is defined }}{% endmacro %}{{ m() }}{% call m() %}{% endcall %}",
    "{% macro m() %}{{ caller('x', y=2) }}{% endmacro %}{% call(a, y, z=3) m() %}{{ a }}{{ y }}{{ z }}{% endcall %}",
    "{% macro m() %}{{ varargs|length }}{{ kwargs.a }}{{ kwargs|tojson }}{% endmacro %}{{ m(1,2,a=3) }}",
    "{{ m is defined }}{% macro m() %}{{ m.name }}{{ m.arguments }}{{ m.catch_kwargs }}{% endmacro %}{{ m() }}", "{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set (a, b) = (b, a) %}{{ a }}{{ b }}",
    "{% set a = b = 1 %}", "{% for a, (b, c) in [(1,(2,3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}", "{% set a, (b, c) = 1, (2, 3) %}{{ c }}",
    "{{ 1 if false }}{{ (1 if false) is defined }}{{ (1 if false).x }}", "{{ [1,2,3][1:][0] }}{{ \"abc\"[::-1] }}{{ \"abc\"[-2:] }}{{ list[-1] }}{{ list[5] }}{{ list[5] is defined }}",
    "{{ list.0 }}{{ d.a.1.x }}{{ d['a'][0] }}", "{{ 1 < 2 < 3 }}{{ 3 > 2 == 2 }}{{ 1 == 1.0 == true }}{{ not 1 == 2 }}{{ 2 ** 3 ** 2 }}{{ -2 ** 2 }}{{ 7 // -2 }}{{ -7 % 3 }}{{ 7.5 // 2 }}",
    "{{ \"a\" \"b\" ~ 1 ~ none }}{{ \"a\" ~ (1, 2) }}{{ 1 ~ 2 + 3 }}", "{{ 1 if 2 if 0 else 3 else 4 }}",
    "{% set x %}  a  {% endset %}[{{ x }}]{% set x | trim | upper %} a {% endset %}[{{ x }}]{{ x is string }}", "{% print 5 %}", "{% do 5 %}",
    "{% for x in list -%} {{ x }} {%- endfor %} |  {{- 1 -}}  |", "  {%- if true -%}  a  {%- endif -%}  \nb", "  {%+ if true %}\n   a\n  {% endif +%}\nb", "{# c -#}  \n  x {#- d #} y\n   {# e #}\nz",
    "{% raw -%}  {{ x }}  {%- endraw %}\ny", "a{% raw %}\n{{ x }}\n{% endraw %}\nb", "{{ 'a' in 'abc' and 1 not in [2] }}{{ {} == {} }}{{ [] == () }}{{ 'x' < 1 }}", "{{ none < 1 }}",
    "{{ undefined_var }}{{ undefined_var is undefined }}{{ undefined_var or 'x' }}{{ undefined_var == none }}{{ undefined_var|length }}{% for x in undefined_var %}{% endfor %}{{ undefined_var.x }}",
    "{{ undefined_var + 1 }}", "{{ undefined_var ~ 1 }}{{ undefined_var == undefined_var }}{{ not undefined_var }}{{ undefined_var in [1] }}{{ undefined_var in 'a' }}", "{{ undefined_var() }}",
    "{{ d.x.y }}", "{{ d['x']['y'] }}", "{{ none.x }}{{ none['x'] }}{{ (1).x }}{{ none.x.y }}", "{% include 'x' %}", "{% if false %}{% include 'x' %}{% endif %}ok",
    "{% if false %}{% import 'x' as y %}{% from 'x' import y %}{% endif %}ok", "{{ loop }}{{ loop.index }}", "{{ super() }}", "{{ caller() }}",
    "{{ x.__class__ }}{{ ''.__class__ }}{{ s.__class__.__name__ }}", "{{ s.format.__globals__ }}", "{{ '{0.__class__}'.format(1) }}", "{{ '{0.x}{1[a]}'.format(d, d) }}", "{{ d.update({1:2}) }}",
    "{{ list.append(1) }}", "{{ list.append }}{{ list.append is defined }}{{ d.update is defined }}", "{% set _ = list.append(4) %}{{ list }}", "{{ list.sort() }}", "{{ (list + [1]).pop() }}",
    "{% set x = list %}{% for i in x %}{% set x = x + [i] %}{% endfor %}{{ x }}", "{{ 5 is divisibleby 0 }}",
    "{{ \"%s and %s\" % (\"a\", \"b\") }}{{ \"%d%%\" % 5 }}{{ \"%(x)s\" % {\"x\": 1} }}{{ \"%5.2f|%-5s|%05d\" % (3.14159, \"ab\", 42) }}",
    "{{ 1e3 }}{{ 1.0 }}{{ 1e100 }}{{ 123456789.123 }}{{ 0.1 + 0.2 }}{{ 1/3 }}{{ 10/2 }}{{ 2**-1 }}{{ 1_000 }}", "{{ true + 1 }}{{ true ~ 1 }}{{ [true, none] }}{{ {'a': none, 1: true} }}",
    "{{ [1, 'a', \"it's\", 'q\"q', \"both'\\\"\"] }}{{ ('a',) }}{{ {'k': ['v', {'z': 1.5}]} }}", "{{ \"é\\n\\t\\\\\" }}{{ [\"é\\n\\t\\\\\\x7f\\u200b\"] }}")
# --- arguments of calls
add("{{ dict(a=1, a=2) }}", "{% if false %}{{ dict(a=1, a=2) }}{% endif %}", "{{ dict(**{'a': 1}) }} {{ range(*[1, 4])|list }}", "{{ dict(none) }}", "{{ dict(missing) }}", "{{ namespace(missing) }}", "{{ 'a b'.split(sep=' ', maxsplit=1) }} {{ 'a'.split(x=1) }}",
    "{{ list|sort('x') }}", "{{ list|sort(true) }} {{ list|sort(1) }} {{ list|sort(reverse=0) }}", "{{ d|dictsort(reverse=none) }}", "{{ 'a\nb'.splitlines(1) }} {{ 'a\nb'.splitlines('x') }}", "{{ list|join('-', attribute='x') }}|", "{{ people|join(', ', attribute='name') }} {{ people|join(', ', 'age') }}",
    "{{ people|sum('age') }} {{ people|sum(attribute='age', start=10) }} {{ [[1], [2]]|sum(start=[]) }}", "{{ ['a']|sum }}", "{{ people|groupby('age')|list }}", "{% for age, group in people|groupby('age') %}{{ age }}:{{ group|map(attribute='name')|join('+') }};{% endfor %}", "{{ people|groupby('tag.k', default=0)|map('first')|list }}",
    "{{ people|rejectattr('tag')|map(attribute='name')|list }} {{ people|selectattr('tag.k', 'gt', 1)|map(attribute='name')|list }}", "{{ people|selectattr('tag.k.z', 'defined')|list|length }}", "{{ people|map(attribute='tag.k', default='-')|list }}", "{{ people|map('dictsort')|first }}", "{{ people|max(attribute='age') }} {{ people|min(attribute='name') }}", "{{ []|max }}|{{ []|first is defined }}", "{{ [1, 'a']|max }}",
    "{{ [3, 1, 2]|sort|reverse|list }} {{ 'cab'|sort|join }} {{ words|sort(case_sensitive=true) }} {{ words|sort }} {{ people|sort(attribute='age,name')|map(attribute='name')|join(' ') }}")
# --- joiner, cycler, dictionaries' views
add("{% set j = joiner(5) %}{{ j() }}{{ j() }}", "{% set j = joiner(none) %}[{{ j() }}{{ j() }}]", "{{ range in d }} {{ namespace() in {} }}", "{{ list in d }}", "{{ d.keys() == d.keys() }} {{ d.keys() == {'a': 0, 'b': 1, 'C': 1}.keys() }} {{ d.keys() == ['a'] }}", "{{ d.values() == d.values() }}", "{{ d.keys() | list }} {{ d.items() | first }} {{ d.values() | length }} {{ 'a' in d.keys() }} {{ 1 in d.values() }}", "{{ d.keys()[0] }}|", "{{ (d.items()|list)[0][1] }}")
# --- numbers
add("{{ 1 / 9007199254740993 }} {{ 9007199254740993 / 3 }} {{ 9223372036854775807 / 9223372036854775806 }}", "{{ 2.0.is_integer() }} {{ f.is_integer() }}", "{{ 1.5|round(none) }} {{ 2.5|round }} {{ 2.675|round(2) }} {{ 1234|round(-2) }} {{ 2.1|round(method='ceil') }}", "{{ '12'|int(5, 'q') }} {{ 'x'|int(5, 'q') }} {{ '0x1f'|int(0, 16) }} {{ '1f'|int(base=16) }} {{ '12.9'|int }} {{ ' 7 '|int }} {{ '1_000'|int }} {{ 'x'|int('d') }} {{ none|int }} {{ true|int }}",
    "{{ '5'|filesizeformat }} {{ -0.0|filesizeformat }} {{ 1e25|filesizeformat }} {{ '1e7'|filesizeformat(true) }} {{ -5000|filesizeformat }} {{ 999999|filesizeformat }}", "{{ 'x'|filesizeformat }}", "{{ range(5).index(3) }} {{ range(0, 10, 2).count(4) }} {{ range(9, 0, -3)|list }} {{ range(5)[1:3] }} {{ range(5)[-1] }}", "{{ range(5).index(9) }}", "{{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % -3 }} {{ -7.5 % 2 }} {{ 1e308 * 10 }} {{ 0.1 * 3 }} {{ 5 // 0.3 }}", "{{ 1 % 0 }}", "{{ 9223372036854775807 }} {{ -9223372036854775807 - 1 }}")
# --- strings
add("{{ 'ab_1'.isidentifier() }} {{ '1a'.isidentifier() }} {{ ''.isidentifier() }} {{ 'é'.isidentifier() }}", "{{ '<b>a</b> <!-- <x> --> & &lt;i&gt;'|striptags }} {{ 'a < b'|striptags }} {{ '<!-- x'|striptags }} {{ '<a <!-- > --> b'|striptags }}", "{{ '\\x7f\\x1f\\u2028é😀'|tojson(ensure_ascii=true) }}", "{{ strftime_now('%#a %#A %#p %^c %-Q %_Y %#h %^b %-d %-H %e %k %l %% %') }}",
    "{{ 'abc'|reverse }} {{ 'abc'[::-1] }} {{ 'abcdef'[4:1:-2] }} {{ 'äöü'[-2] }} {{ 'äöü'[1:] }} {{ 'abc'[5:] }}|{{ 'abc'[-9:2] }}", "{{ 'a,b;c'.replace(',', ';').split(';')|map('upper')|join('|') }}", "{{ 'x=%s, y=%s' % (1, 'é') }} {{ '%-6s|%6.2f|%03d' % ('ab', 2.5, 7) }} {{ 'a%%b' % () }}", "{{ '{0:>8} {1!r:<6}|{name[k]}'.format('é', 'q', name={'k': 1}) }}", "{{ '{:>{w}}'.format('x', w=4) }} {{ '{:,}'.format(1234567.5) }} {{ '{:e}'.format(0) }}")
# --- namespaces
add("{{ namespace(_x=1) }}", "{% set ns = namespace() %}{% set ns._x = 1 %}", "{% set ns = namespace(a=1) %}{{ ns.a }}{{ ns.b }}|{{ ns.b is defined }}{% set ns.b = [ns.a] %}{{ ns.b }}", "{% set ns = namespace({'a': 1}, b=2) %}{{ ns.a + ns.b }}", "{% set ns = namespace(l=[]) %}{% for i in range(50) %}{% set ns.l = ns.l + [i] %}{% endfor %}{{ ns.l|length }} {{ ns.l[-1] }} {{ (ns.l + [1])|length }} {{ (ns.l + [2])[-1] }} {{ (ns.l + [3, 4])[-2:] }} {{ ns.l|length }}",
    "{% set a = [1] + [2] %}{% set b = a + [3] %}{% set c = a + [4] %}{{ a }}{{ b }}{{ c }}{{ b + c }}{{ b }}", "{% set a = (1,) + (2,) %}{% set b = a + (3,) %}{{ a + (4,) }}{{ b }}{{ a }}")
# --- blocks
add("{% filter length %}abc{% endfilter %}", "{% filter upper|trim %} abc {% endfilter %}", "{% for i in list %}{% set loop.x = 1 %}{% endfor %}", "{% if false %}{% for i in list %}{% set loop.x = 1 %}{% endfor %}{% endif %}ok", "{% if false %}{% for i in list %}{% set loop = 1 %}{% endfor %}{% endif %}ok")
# --- layout
T = "The well-known e-mail was re-sent -- twice--by a-b-c-d, 1-2-3 and averyveryverylongwordindeedyes.\n\n  Next\tpara: don't-know \"q\"--w.  End- -x é-è-ü\u00a0z"
add(*["{{ %s|wordwrap(%s) }}" % (json.dumps(T, ensure_ascii=False), a) for a in ("", "1", "7", "12", "20, false", "12, true, '|'", "15, true, none, false", "3, false, ' / '", "0", "'x'")], "{{ ''|wordwrap }}|{{ '  '|wordwrap(1) }}|{{ 5|wordwrap }}", "{{ missing|wordwrap }}", "{{ messages|pprint }}", "{{ d|pprint }} {{ s|pprint }} {{ none|pprint }} {{ (1,)|pprint }} {{ []|pprint }}",
    "{{ {'b': [s * 3, {'zeta': list, 'alpha': [u, u, u, none, true, 1.5]}], 'a': (s * 9, 1), 'c': 'x' * 90, 'e': ('x' * 90,)}|pprint }}", "{{ ((s ~ '\n') * 9)|pprint }}", "{{ [(s ~ ' ') * 9, 'y' * 100]|pprint }}", "{{ {1: 'a' * 50, 'b': 'c' * 50, none: 2, true: 3}|pprint }}", "{{ range(40)|list|pprint }}", "{{ [5]|random }}{{ 'x'|random }}|{{ []|random }}|", "{{ d|random }}", "{{ 5|random }}")
# --- real-world shapes
add("{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + (m['content'] or '') + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}", "{%- set loop_messages = messages[1:] if messages[0]['role'] == 'system' else messages -%}\n{%- for m in loop_messages -%}\n    {{- m.role }}\n{%- endfor -%}", "{% if messages[0]['role'] == 'system' %}{% set system_message = messages[0]['content'] | trim %}{% set messages = messages[1:] %}{% endif %}{{ system_message }}{{ messages|length }}",
    "{%- macro json_to_python_type(x) %}{%- set m = {'string': 'str', 'number': 'float'} %}{%- if x.type in m %}{{- m[x.type] }}{%- elif x.type == 'array' %}{{- 'list[' + json_to_python_type(x['items']) + ']' }}{%- else %}Any{%- endif %}{%- endmacro %}{{ json_to_python_type({'type': 'array', 'items': {'type': 'array', 'items': {'type': 'number'}}}) }}", "{% set ns = namespace(found=false, i=0) %}{% for m in messages[::-1] %}{% set ns.i = loop.index0 %}{% if not ns.found and m.role == 'user' %}{% set ns.found = true %}{{ (messages|length - 1) - loop.index0 }}{% endif %}{% endfor %}",
    "{% set content = '<think>a</think>b' %}{{ content.split('</think>')[-1].lstrip('\n') }} {{ content.split('</think>')[0].rstrip('\n').split('<think>')[-1] }}", "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate') }}{% endif %}{% endfor %}", "{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | first }}", "{% set tools = none %}{% if tools is not none and tools|length > 0 %}x{% endif %}{{ tools is none }}", "{% set a = [] %}{% for i in range(3) %}{% set a = a + [i] %}{% endfor %}{{ a }}", "{% set ns = namespace(a=[]) %}{% for i in range(3) %}{% set ns.a = ns.a + [i * i] %}{% endfor %}{{ ns.a | join(',') }}")


class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("render_body"), [], [], body).set_lineno(line)

    def render_body(self, caller):
        return caller()


def environment():
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    class Namespace(jinja2.utils.Namespace):
        def __init__(*args, **kwargs):
            self, args = args[0], args[1:]
            for name in dict(*args, **kwargs):
                Namespace._check(name)
            jinja2.utils.Namespace.__init__(*((self,) + args), **kwargs)

        def __setitem__(self, name, value):
            Namespace._check(name)
            jinja2.utils.Namespace.__setitem__(self, name, value)

        @staticmethod
        def _check(name):
            if isinstance(name, str) and name.startswith("_"):
                raise jinja2.exceptions.SecurityError(name)

    env.globals["namespace"] = Namespace
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda format: NOW.strftime(format)
    return env


def main():
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parents[1] / "template" / "cases.json"
    rows, seen = [], set()
    for source in S:
        if not source or source in seen:
            continue
        seen.add(source)
        row = {"template": source}
        try:
            row["expected"] = environment().from_string(source).render(**json.loads(json.dumps(VARS)))
            row["expected"].encode()
        except Exception:  # every failure of the reference counts as an error, whatever its kind
            row = {"template": source, "error": True}
        if " at 0x" not in row.get("expected", ""):  # an address is not to be compared
            rows.append(row)
    lines = [json.dumps(r, ensure_ascii=False) for r in rows]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text('{"vars": %s,\n"cases": [\n%s\n]}\n' % (json.dumps(VARS, ensure_ascii=False), ",\n".join(lines)), encoding="utf-8")
    print(len(rows), "cases,", sum("error" in r for r in rows), "errors")


main()
