// Logs in, describes, and writes records one by one and in collections. Prints what jsforce made of the answers.
import jsforce from "jsforce";

const { url, clientId, clientSecret, username, password } = JSON.parse(process.argv[2]);
const oauth2 = { clientId, clientSecret, loginUrl: url };
const told = (error) => ({ code: error.errorCode, message: error.message });

const conn = new jsforce.Connection({ instanceUrl: url, oauth2 });
const { organizationId } = await conn.authorize({ grant_type: "client_credentials" });
const bySoap = await new jsforce.Connection({ loginUrl: url }).login(username, password);
const byPassword = await new jsforce.Connection({ oauth2 }).login(username, password);
const byToken = new jsforce.Connection({ instanceUrl: url, accessToken: conn.accessToken });
const identity = await byToken.identity();
const wrong = await new jsforce.Connection({ loginUrl: url }).login(username, "wrong").catch(told);

const contact = conn.sobject("Contact");
const described = await contact.describe();
const objects = (await conn.describeGlobal()).sobjects.map((one) => one.name);
const limits = await conn.limits();

const made = await contact.create({ LastName: "Smith", Email: "smith@example.com", External_Id__c: "j1" });
const upserted = await contact.upsert({ External_Id__c: "j1", LastName: "Jones" }, "External_Id__c");
const born = await contact.upsert({ External_Id__c: "j2", LastName: "New" }, "External_Id__c");
const updated = await contact.update({ Id: made.id, FirstName: "J" });
const record = await contact.retrieve(made.id);
const refused = await contact.create({ FirstName: "nobody" }).catch(told);

// More than the 200 of one request: jsforce sends two.
const many = Array.from({ length: 250 }, (_, n) => ({ External_Id__c: `m${n}`, LastName: `Many ${n}` }));
const created = await contact.create(many, { allowRecursive: true });
const mixed = await contact.upsert(
  [{ External_Id__c: "m1", FirstName: "Again" }, { External_Id__c: "m999", LastName: "New" }, { External_Id__c: "m998" }],
  "External_Id__c",
);
const changed = await contact.update([
  { Id: created[0].id, FirstName: "Changed" },
  { Id: "003000000000000AAA", FirstName: "Lost" },
]);
const destroyed = await contact.destroy([made.id, born.id]);
const gone = await contact.retrieve(made.id).catch(told);
const twice = await contact.destroy(made.id).catch(told);

console.log(
  JSON.stringify({
    organizations: [organizationId, bySoap.organizationId, byPassword.organizationId, identity.organization_id],
    username: identity.username, wrong, objects, daily: limits.DailyApiRequests.Max,
    email: described.fields.find((field) => field.name === "Email").type,
    made, upserted, born, updated, record, refused,
    created: created.filter((one) => one.success).length,
    mixed, changed, destroyed, gone, twice,
  }),
);
