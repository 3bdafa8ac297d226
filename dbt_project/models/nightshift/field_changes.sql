select
    changes.run_id,
    runs.target,
    runs.started_at as run_started_at,
    changes.changed_at,
    changes.sync,
    changes.external_id,
    changes.operation,
    changes.field,
    changes.before,
    changes.after,
    changes.outcome,
    plans.kind,
    plans.decided_by
from {{ source('sync', 'changes') }} as changes
left join {{ source('ops', 'runs') }} as runs on changes.run_id = runs.run_id
left join {{ source('sync', 'plans') }} as plans on changes.run_id = plans.run_id
