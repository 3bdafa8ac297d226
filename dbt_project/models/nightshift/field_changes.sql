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
    changes.outcome
from {{ source('sync', 'changes') }} as changes
left join {{ source('ops', 'runs') }} as runs on changes.run_id = runs.run_id
