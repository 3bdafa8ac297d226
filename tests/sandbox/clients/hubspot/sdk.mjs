// Batches, search, properties and associations. Prints what HubSpot's SDK made of the answers.
import { Client } from "@hubspot/api-client";

const { url, token } = JSON.parse(process.argv[2]);
const { crm } = new Client({ accessToken: token, basePath: url });
const told = (error) => ({ status: error.code, category: error.body?.category, message: error.body?.message });
const keyed = (id, properties) => ({ id, idProperty: "external_id", properties });

const kinds = {};
for (const [kind, text] of Object.entries({ companies: "name", contacts: "lastname", deals: "dealname" })) {
  const { batchApi, basicApi, searchApi } = crm[kind];
  const upserted = await batchApi.upsert({ inputs: ["1", "2"].map((id) => keyed(id, { [text]: "A" })) });
  const ids = upserted.results
    .sort((a, b) => a.properties.external_id.localeCompare(b.properties.external_id))
    .map((record) => record.id);
  const again = await batchApi.upsert({ inputs: [keyed("1", { [text]: "B" })] });
  const updated = await batchApi.update({ inputs: [{ id: ids[1], properties: { [text]: "C" } }] });
  const created = await batchApi.create({ inputs: [{ properties: { external_id: "3", [text]: "D" }, associations: [] }] });
  const asked = { properties: [text], propertiesWithHistory: [], inputs: ids.map((id) => ({ id })) };
  const read = await batchApi.read(asked);
  const found = await searchApi.doSearch({
    filterGroups: [{ filters: [{ propertyName: "external_id", operator: "IN", values: ["1", "2", "3"] }] }],
    sorts: [text], properties: [text], limit: 2, after: "0",
  });
  const page = await basicApi.getPage(2);
  const all = await crm[kind].getAll(2);
  await batchApi.archive({ inputs: [{ id: ids[0] }] });
  kinds[kind] = {
    born: upserted.results.map((record) => record._new), again: again.results.map((record) => record._new),
    updated: updated.results[0].properties[text], created: created.results[0].properties.external_id,
    read: Object.fromEntries(read.results.map((record) => [ids.indexOf(record.id), record.properties[text]])),
    found: [found.total, found.results.map((record) => record.properties[text]), found.paging.next.after],
    page: page.results.length, all: all.length,
    gone: await basicApi.getById(ids[0]).catch(told),
    missing: (await batchApi.read(asked)).numErrors,
  };
}

const person = { properties: { email: "node@example.com" }, associations: [] };
const { id: contact } = await crm.contacts.basicApi.create(person);
const conflict = await crm.contacts.batchApi.create({ inputs: [person] }).catch(told);
const partly = await crm.contacts.batchApi.create({ inputs: [{ ...person, objectWriteTraceId: "t" }] });
const stranger = await new Client({ accessToken: "wrong", basePath: url }).crm.deals.basicApi.getPage().catch(told);
const custom = await crm.objects.batchApi.upsert("shipments", {
  inputs: [{ id: "s1", idProperty: "tracking_number", properties: { parcels: "2" } }],
});

const properties = crm.properties.coreApi;
const options = [{ label: "A", value: "a", hidden: false, displayOrder: 0 }];
await properties.create("companies", {
  name: "made_by_node", label: "Made", type: "enumeration", fieldType: "select", groupName: "companyinformation", options,
});
const property = await properties.getByName("companies", "made_by_node");
const names = (await properties.getAll("companies")).results.map((one) => one.name);

const { id: company } = await crm.companies.basicApi.create({ properties: { name: "Parent" }, associations: [] });
const v4 = crm.associations.v4;
const pair = { _from: { id: contact }, to: { id: company } };
const types = [{ associationCategory: "HUBSPOT_DEFINED", associationTypeId: 279 }];
const made = await v4.batchApi.create("contacts", "companies", { inputs: [{ ...pair, types }] });
const deal = await crm.deals.basicApi.create({ properties: { dealname: "E" }, associations: [] });
await v4.batchApi.createDefault("deals", "companies", { inputs: [{ _from: { id: deal.id }, to: { id: company } }] });
const linked = await v4.batchApi.getPage("companies", "deals", { inputs: [{ id: company }] });
const labels = await v4.schema.definitionsApi.getAll("contacts", "companies");
await v4.batchApi.archive("contacts", "companies", { inputs: [{ _from: { id: contact }, to: [{ id: company }] }] });
const left = await v4.basicApi.getPage("contacts", contact, "companies");

console.log(
  JSON.stringify({
    kinds, contact, conflict, stranger,
    partly: [partly.numErrors, partly.errors[0].category, partly.errors[0].context.objectWriteTraceId],
    custom: custom.results[0].properties.parcels,
    property: [property.options[0].value, names.includes("made_by_node")],
    made: made.results[0].toObjectId === company, linked: linked.results[0].to[0].toObjectId === deal.id,
    labels: Object.fromEntries(labels.results.map((one) => [one.typeId, one.label])), left: left.results.length,
  }),
);
