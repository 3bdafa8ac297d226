with lines as (
    select * from {{ ref('stg_retail__invoice_lines') }}
    where customer_id is not null
),

invoices as (
    select
        invoice_id,
        customer_id,
        min(invoiced_at) as invoiced_at,
        count(*) as line_count,
        sum(amount) as sold
    from lines
    where not is_cancellation
    group by invoice_id, customer_id
),

articles as (
    select
        invoices.invoice_id,
        invoices.customer_id,
        invoices.invoiced_at,
        lines.stock_code,
        sum(lines.amount) as sold
    from invoices
    inner join lines
        on
            invoices.invoice_id = lines.invoice_id
            and invoices.customer_id = lines.customer_id
    group by invoices.invoice_id, invoices.customer_id, invoices.invoiced_at, lines.stock_code
),

-- Of several invoices of the same minute only the one with the highest number can be reduced.
reducible as (
    select
        customer_id,
        stock_code,
        invoiced_at,
        max(invoice_id) as invoice_id
    from articles
    group by customer_id, stock_code, invoiced_at
),

cancelled as (
    select
        reducible.invoice_id,
        reducible.customer_id,
        reducible.stock_code,
        -sum(lines.amount) as amount
    from lines
    asof inner join reducible
        on
            lines.customer_id = reducible.customer_id
            and lines.stock_code = reducible.stock_code
            and lines.invoiced_at >= reducible.invoiced_at
    where lines.is_cancellation
    group by reducible.invoice_id, reducible.customer_id, reducible.stock_code
),

returned as (
    select
        articles.invoice_id,
        articles.customer_id,
        sum(greatest(least(cancelled.amount, articles.sold), 0)) as amount
    from cancelled
    inner join articles
        on
            cancelled.invoice_id = articles.invoice_id
            and cancelled.customer_id = articles.customer_id
            and cancelled.stock_code = articles.stock_code
    group by articles.invoice_id, articles.customer_id
),

netted as (
    select
        invoices.invoice_id,
        invoices.customer_id,
        invoices.invoiced_at,
        invoices.line_count,
        cast(invoices.sold - coalesce(returned.amount, 0) as decimal(14, 2)) as net_amount,
        cast(coalesce(returned.amount, 0) as decimal(14, 2)) as returned_amount
    from invoices
    left join returned
        on
            invoices.invoice_id = returned.invoice_id
            and invoices.customer_id = returned.customer_id
)

select * from netted
where net_amount > 0
