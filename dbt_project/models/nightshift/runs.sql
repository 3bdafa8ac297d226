{#- A run that was killed has no summary, so its counts are null; what the CRM took of it is in field_changes. -#}
{%- set counts = [
    'creates', 'updates', 'archives', 'applied', 'rejected', 'unknown', 'reconciled', 'mismatched', 'withheld', 'left'
] -%}
select
    runs.run_id,
    runs.target,
    coalesce(runs.summary ->> '$.kind', plans.kind) as kind,
    plans.reverts,
    runs.as_of,
    runs.started_at,
    runs.ended_at,
    runs.state,
    runs.stage,
    runs.error,
    {%- for count in counts %}
    case
        when runs.summary is not null
            then cast(coalesce(list_sum(cast(runs.summary -> '$.syncs.*.{{ count }}' as bigint[])), 0) as bigint)
    end as {{ 'left_for_next_run' if count == 'left' else count }},
    {%- endfor %}
    cast(runs.summary -> '$.requests' as bigint) as requests,
    plans.state as plan_state,
    plans.decided_at,
    plans.decided_by,
    plans.reason
from {{ source('ops', 'runs') }} as runs
left join {{ source('sync', 'plans') }} as plans on runs.run_id = plans.run_id
