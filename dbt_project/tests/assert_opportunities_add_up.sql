-- What is left of an invoice and what was taken back make up what was invoiced, and nothing more is taken back than
-- was invoiced. Both parts are rounded, so a penny may be between them.
with invoiced as (
    select
        invoice_id,
        sum(amount) as amount
    from {{ ref('stg_retail__invoice_lines') }}
    where customer_id is not null and not is_cancellation
    group by invoice_id
)

select
    opportunities.opportunity_id,
    opportunities.amount,
    opportunities.returned_amount,
    invoiced.amount as invoiced
from {{ ref('crm_opportunities') }} as opportunities
left join invoiced on opportunities.opportunity_id = invoiced.invoice_id
where
    abs(coalesce(invoiced.amount, 0) - opportunities.amount - opportunities.returned_amount) > 0.01
    or opportunities.returned_amount < 0
