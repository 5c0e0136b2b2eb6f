"""What transformers writes with chat templates: makes templates.json, in an environment of transformers 5 with jinja2."""

import json
from transformers.utils.chat_template_utils import _compile_jinja_template

USER = [{"role": "user", "content": " What is a tile? "}]
CHAT = [{"role": "system", "content": "Be brief.\n"}, {"role": "user", "content": "Hi \"you\" <b>&</b> é"},
        {"role": "assistant", "content": "Hello.\nAgain."}, {"role": "user", "content": "Bye"}]
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}

TEMPLATES = [
    # BitNet's.
    "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = message['role'] | capitalize + ': '+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}",
    # Of the kind of Falcon3's and Zephyr's.
    "{% for message in messages %}\n{% if message['role'] == 'system' %}\n{{ '<|system|>\\n' + message['content'] }}\n{% elif message['role'] == 'user' %}\n{{ '<|user|>\\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'assistant' %}\n{% if not loop.last %}\n{{ '<|assistant|>\\n'  + message['content'] + eos_token + '\\n' }}\n{% else %}\n{{ '<|assistant|>\\n'  + message['content'] + eos_token }}\n{% endif %}\n{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>\\n' }}\n{% endif %}\n{% endfor %}\n",
    # Of the kind of Llama 2's, with its checks.
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
    # Of the kind of Llama 3.1's.
    "{{- bos_token }}\n{%- if not date_string is defined %}\n    {%- set date_string = \"26 Jul 2024\" %}\n{%- endif %}\n{%- if not tools is defined %}\n    {%- set tools = none %}\n{%- endif %}\n{%- if messages[0]['role'] == 'system' %}\n    {%- set system_message = messages[0]['content']|trim %}\n    {%- set messages = messages[1:] %}\n{%- else %}\n    {%- set system_message = \"\" %}\n{%- endif %}\n{{- \"<|start_header_id|>system<|end_header_id|>\\n\\n\" }}\n{%- if tools is not none %}\n    {{- \"Environment: ipython\\n\" }}\n{%- endif %}\n{{- \"Today Date: \" + date_string + \"\\n\\n\" }}\n{{- system_message }}\n{{- \"<|eot_id|>\" }}\n{%- for message in messages %}\n    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}\n        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}\n    {%- endif %}\n{%- endfor %}\n{%- if add_generation_prompt %}\n    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}\n{%- endif %}\n",
    # Of the kind of ChatML with loops, namespaces and macros.
    "{%- macro turn(m) -%}\n<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endmacro -%}\n{%- set ns = namespace(seen=0, last='') -%}\n{%- for m in messages -%}\n    {%- set ns.seen = ns.seen + 1 -%}\n    {%- set ns.last = m.role -%}\n    {{- turn(m) }}\n{%- endfor -%}\n{{ ns.seen }} {{ ns.last }}\n",
    # Marks of what is trained on, and loop controls.
    "{% for m in messages %}{% if m['role'] == 'system' %}{% continue %}{% endif %}{% if m['role'] == 'assistant' %}{%- generation -%}{{ m['content'] + eos_token }}{%- endgeneration -%}{% else %} {{ m['content'] }} {% endif %}{% endfor %}",
    # Blocks on lines of their own, comments, and whitespace kept by hand.
    "  {# a comment #}\nStart\n    {% for m in messages %}\n  * {{ m.content }}\n    {%+ if loop.last %}\nlast\n    {% endif %}\n    {% endfor %}\n\nEnd\n\n",
    # JSON in all ways.
    "{{ messages | tojson }}|{{ messages[0] | tojson(indent=4) }}|{{ messages[0] | tojson(separators=(',', ':'), sort_keys=True) }}|{{ messages[0].content | tojson(ensure_ascii=True) }}|{{ messages[0] | tojson(False, 2) }}|{{ {'a': none, 'b': [true, 1, 2.5], 'c': {}} | tojson }}",
    # Methods and words of Python.
    "{{ messages[0]['content'].strip().upper().replace('A', 'b').split(' ')[0] }} {{ messages[-1].content.startswith(' W') }} {{ 'role' in messages[0] }} {{ messages[0].get('name', 'nobody') }} {{ messages[0].get('name') }} {{ messages | length }} {{ tools }} {{ documents is none }} {{ pad_token }}{{ unk_token }} {% for k, v in messages[0].items() %}{{ k }}={{ v | length }};{% endfor %} {{ messages | map(attribute='role') | join(',') }} {{ messages | selectattr('role', 'equalto', 'user') | list | length }} {{ 7 // 2 }} {{ 2 ** 3 }} {{ 'a' ~ 1 ~ true }} {{ messages[0].content is string }} {{ messages[0] is mapping }} {{ messages is iterable }} {{ 'x' if missing else 'y' }} {{ missing | default('z') }} {{ [1, 'a', none, {'k': \"it's\"}, '\\n'] }} {{ messages[0] }} {{ '%s-%s' | format(1, 'b') }} {{ loop is defined }}",
]

found = []
for template in TEMPLATES:
    for messages in (USER, CHAT):
        written = _compile_jinja_template(template).render(messages=messages, tools=None, documents=None, add_generation_prompt=True, **SPECIAL)
        found.append({"template": template, "messages": messages, "text": written})
print(json.dumps({"special": SPECIAL, "found": found}, indent=1))
