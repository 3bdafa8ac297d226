-- Read from raw on purpose: nothing in between may turn a no into a yes.
select contacts.contact_id
from {{ ref('crm_contacts') }} as contacts
left join {{ source('shop', 'customers') }} as shop on contacts.contact_id = trim(shop.customer_id)
where shop.consent is distinct from true
