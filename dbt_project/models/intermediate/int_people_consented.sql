with customers as (
    select * from {{ ref('stg_shop__customers') }}
    where has_consent and person is not null
)

select
    customers.customer_id,
    -- The last word is the last name: the CRM demands one, and a person who gives one word gives that.
    nullif(trim(regexp_replace(customers.person, '\S+$', '')), '') as first_name,
    regexp_extract(customers.person, '\S+$') as last_name,
    customers.email,
    customers.phone,
    customers.updated_at as consent_at
from customers
inner join {{ ref('int_customers_rfm') }} as invoiced on customers.customer_id = invoiced.customer_id
