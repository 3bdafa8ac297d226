{#- How a CRM model stays equal to a full refresh while only what changed is written.

    Each night compares what should be (computed from all of raw) with what is stored, and writes the difference.
    A watermark such as "rows extracted since the last build" would read less, but it would miss a segment that
    moves because time went on, rows that a reloaded file no longer holds, and every row already stored when an
    analyst edits the model. -#}

{#- The rows of a CTE that are new, or that differ from what `this` holds, stamped with the time of this build.
    Unchanged rows are not written, so they keep the changed_at that they have. EXCEPT counts two nulls as equal.

    A column that `this` does not have yet counts as null; a stored column that the model dropped is left out. -#}
{% macro only_changes(cte) %}
    select
        *,
        cast('{{ run_started_at.strftime("%Y-%m-%d %H:%M:%S.%f") }}' as timestamp) as changed_at
    from (
        select * from {{ cte }}
        {%- if is_incremental() %}
        {#- In a unit test `this` is the name of a CTE, which has no columns to ask for. #}
        {%- set stored = [] if this is string else adapter.get_columns_in_relation(this) | map(attribute="name") %}
        {%- set dropped = stored | reject("in", model.columns) | map("tojson") | list %}
        except
        select * exclude ({{ (["changed_at"] + dropped) | join(", ") }})
        from (
            select * from {{ cte }} where false
            union all by name
            select * from {{ this }}
        )
        {%- endif %}
    )
{% endmacro %}

{#- Deletes the rows whose key is no longer in the view that a CRM model is made from: an invoice that was netted
    away, a person who withdrew consent. A merge by itself never deletes. Runs as a post-hook, in the transaction
    of the merge. -#}
{% macro delete_departed(key, desired, desired_key) %}
    delete from {{ this }}
    where not exists (
        select 1 from {{ desired }} as desired where desired.{{ desired_key }} = {{ this.identifier }}.{{ key }}
    )
{% endmacro %}
