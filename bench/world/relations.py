"""Databases, relations and columns of the made-up company: the same for every seed.

A line is: name, rows, bytes a row, columns. Every relation has ``id`` too. Relations of schema
``public`` are named without it, as most programs do.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

TEXT = """
@ shop db-1 5432 public
orders 4e6 180 customer_id status total placed_at channel currency note
order_items 1.2e7 60 order_id product_id quantity price discount
order_events 2e7 90 order_id event at actor
customers 9e5 240 email name phone birth_date tax_id country created_at segment
customer_addresses 1.4e6 160 customer_id street city postcode country
customer_notes 3e5 400 customer_id author body at
products 6e4 300 sku title price stock category_id active updated_at
product_images 2e5 90 product_id url position
product_reviews 8e5 350 product_id customer_id stars body at
categories 900 60 parent_id name position
carts 7e5 90 customer_id session_id updated_at total
cart_items 2e6 50 cart_id product_id quantity added_at
sessions 3e6 120 customer_id token started_at expires_at agent
coupons 4e4 70 code percent valid_until used_count
coupon_uses 5e5 40 coupon_id order_id used_at
wishlists 2e5 40 customer_id product_id added_at
search_queries 6e6 80 query hits customer_id at
search_synonyms 3e3 50 term synonym
recommendations 5e6 40 customer_id product_id weight
price_history 3e6 40 product_id price valid_from
@ shop db-1 5432 crm
contacts 6e5 200 customer_id email phone consent updated_at
tickets 4e5 260 contact_id subject state priority opened_at assignee
ticket_messages 2e6 500 ticket_id author body at
refund_requests 6e4 120 ticket_id order_id amount state
macros 400 300 name body
call_logs 9e5 140 contact_id agent started_at seconds
satisfaction 2e5 60 ticket_id stars at
segments 200 90 name rule
segment_members 1.5e6 24 segment_id contact_id
campaign_mails 4e6 90 contact_id template sent_at opened_at
@ shop db-1 5432 stock
warehouses 12 120 name city
bins 4e4 40 warehouse_id code
levels 7e5 40 product_id bin_id quantity updated_at
movements 9e6 60 product_id bin_id delta reason at
purchase_orders 8e4 120 supplier_id state ordered_at total
suppliers 900 260 name contact email iban
shipments 2e6 140 order_id carrier tracking state shipped_at
returns 2e5 110 order_id reason state received_at
carriers 20 100 name api_url
@ shop db-1 5432 config
feature_flags 300 90 name enabled audience updated_by updated_at
settings 500 120 key value updated_by updated_at
rate_limits 80 60 route per_minute
@ billing db-1 5433 public
invoices 3.5e6 160 customer_id order_id amount state due_at issued_at
invoice_lines 1e7 70 invoice_id text amount tax
payments 3.6e6 130 invoice_id method amount state paid_at reference
payment_methods 8e5 150 customer_id card_token last_four expires holder
bank_accounts 2e5 140 customer_id iban holder verified
refunds 2e5 90 payment_id amount reason at
chargebacks 3e4 160 payment_id amount reason opened_at
ledger_entries 2.4e7 80 account_id debit credit booked_at reference
ledger_accounts 600 60 number name kind
dunning_letters 1e5 90 invoice_id level sent_at
subscriptions 3e5 110 customer_id plan state renews_at
plans 40 90 name price period
tax_rates 300 40 country rate valid_from
exchange_rates 9e4 30 currency rate day
payouts 1e5 120 supplier_id amount state at
payout_batches 4e3 90 day state total
fraud_scores 3e6 50 payment_id score model at
fraud_cases 2e4 300 payment_id analyst state note
@ billing db-1 5433 config
pricing_rules 200 150 name expression active updated_by
gateway_keys 12 220 gateway api_key secret rotated_at
limits 60 60 name amount
@ billing db-1 5433 audit
entries 1.5e7 200 actor action object at detail
logins 4e6 90 actor address ok at
approvals 3e4 180 actor request approved_by at
@ hr db-2 5432 public
people 4e3 260 name email phone birth_date manager_id team_id hired_at
teams 160 60 name lead_id
positions 300 90 title grade
contracts 4.5e3 400 person_id position_id starts_at ends_at hours
absences 6e4 70 person_id kind from_day to_day
reviews 2e4 900 person_id reviewer_id period grade body
candidates 3e4 500 name email phone stage source
interviews 6e4 400 candidate_id person_id at verdict
trainings 9e3 60 person_id course done_at
badges 4e3 50 person_id card active
@ hr db-2 5432 payroll
salary 1.2e5 90 person_id amount currency valid_from bonus
payslips 1.6e5 300 person_id period gross net paid_at
bank_details 4e3 120 person_id iban holder
tax_data 4e3 140 person_id tax_id class children
bonuses 2e4 60 person_id amount reason period
deductions 9e4 60 person_id kind amount period
@ dw db-2 5433 staging
orders_raw 4e6 180 order_id payload loaded_at
customers_raw 9e5 240 customer_id payload loaded_at
payments_raw 3.6e6 140 payment_id payload loaded_at
events_raw 6e7 200 event payload loaded_at
products_raw 6e4 260 product_id payload loaded_at
stock_raw 7e5 70 product_id quantity loaded_at
tickets_raw 4e5 300 ticket_id payload loaded_at
load_state 200 60 table_name high_water loaded_at
@ dw db-2 5433 mart
dim_customer 9e5 220 customer_id country segment first_order email_hash
dim_product 6e4 180 product_id category brand price
dim_date 4e3 60 day week month quarter holiday
dim_channel 30 50 name kind
dim_store 400 90 name region
fact_sales 1.4e7 90 customer_id product_id day channel_id quantity revenue margin
fact_payments 4e6 70 customer_id day method amount
fact_returns 3e5 60 customer_id product_id day reason amount
fact_traffic 4e7 60 day channel_id visits bounces orders
fact_tickets 4e5 60 customer_id day state minutes
fact_stock 5e6 40 product_id day quantity value
fact_margin 8e6 50 product_id day margin cost
agg_daily 6e4 70 day channel_id revenue orders
agg_monthly 5e3 70 month region revenue orders
agg_cohort 9e4 50 cohort month customers revenue
agg_funnel 1e5 50 day step visitors
forecast 2e5 50 product_id day expected
kpi 4e3 60 name day value
@ dw db-2 5433 sandbox
churn_scores 9e5 40 customer_id score at
price_test 6e4 60 product_id variant price
basket_pairs 2e6 40 product_id other_id lift
survey_2025 2e4 300 customer_id answers
geo_clusters 4e5 40 customer_id cluster
attribution 3e6 50 customer_id channel_id weight
clv_model 9e5 40 customer_id value
@ ml db-2 5433 public
models 120 200 name version path stage updated_by updated_at
prompts 400 900 name version body active updated_by updated_at
features 3e3 120 name expression owner
feature_values 2e7 50 customer_id feature_id value at
predictions 1.5e7 60 customer_id model_id score at
training_runs 9e3 200 model_id started_at metric state
experiments 700 200 name owner state
labels 2e6 40 customer_id label at
embeddings 8e5 3000 product_id vector
guardrails 90 300 name pattern action updated_by
tool_grants 150 90 agent tool allowed updated_by
"""

SENSITIVE = (
    "customers", "payment_methods", "bank_accounts", "payroll.salary", "payroll.bank_details",
    "payroll.tax_data", "payroll.payslips", "config.gateway_keys", "crm.contacts", "people",
    "audit.entries", "reviews", "candidates", "fraud_cases", "ledger_entries",
)  # fmt: skip
"""What a thief wants, by name as in ``reads``."""


@dataclass(frozen=True)
class Place:
    """A database on a server."""

    agent: str
    cluster: str
    database: str


@dataclass(frozen=True)
class Relation:
    place: Place
    schema: str
    name: str
    rows: int
    row_bytes: int
    columns: tuple[str, ...]

    @property
    def said(self) -> str:
        """As statements name it."""
        return self.name if self.schema == "public" else f"{self.schema}.{self.name}"

    @property
    def full(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def sensitive(self) -> bool:
        return self.said in SENSITIVE


@cache
def relations() -> tuple[Relation, ...]:
    found: list[Relation] = []
    place, schema = Place("", "", ""), ""
    for line in TEXT.strip().splitlines():
        head, *words = line.split()
        if head == "@":
            database, agent, cluster, schema = words
            place = Place(agent, cluster, database)
        else:
            rows, row_bytes, *columns = words
            size = int(float(rows))
            found.append(Relation(place, schema, head, size, int(row_bytes), ("id", *columns)))
    return tuple(found)


@cache
def of(database: str, *schemas: str) -> tuple[Relation, ...]:
    """Relations of a database, of the named schemas only if there are any."""
    return tuple(
        r
        for r in relations()
        if r.place.database == database and (not schemas or r.schema in schemas)
    )


@cache
def relation(database: str, said: str) -> Relation:
    return next(r for r in of(database) if r.said == said)


@cache
def place(database: str) -> Place:
    return of(database)[0].place


@cache
def link(child: Relation, parent: Relation) -> str:
    """The column of ``child`` that names a row of ``parent``, or empty."""
    stem = parent.name.removesuffix("ies").removesuffix("s").removeprefix("dim_")
    for column in child.columns:
        if column.endswith("_id") and stem.startswith(column.removesuffix("_id")[:6]):
            return column
    return ""
