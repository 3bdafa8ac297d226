{#- Schemas are named as the folders are (staging, intermediate, crm): a target has a warehouse file of its own,
    so no prefix is needed to keep targets apart. -#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ custom_schema_name | trim if custom_schema_name else target.schema }}
{%- endmacro %}
