-- Every line with a customer is in exactly one account's lifetime value. Each account is rounded to pennies once,
-- so the sums may differ by half a penny for every account.
with billed as (
    select coalesce(sum(amount), 0) as amount
    from {{ ref('stg_retail__invoice_lines') }}
    where customer_id is not null
),

held as (
    select
        coalesce(sum(lifetime_value), 0) as amount,
        count(*) as accounts
    from {{ ref('crm_accounts') }}
)

select
    billed.amount as billed,
    held.amount as held
from billed
cross join held
where abs(billed.amount - held.amount) > 0.005 * held.accounts
