// Writes and reads by Bulk API 2.0, and reads pages of SOQL. Prints what jsforce made of the answers.
import jsforce from "jsforce";

const { url, accessToken } = JSON.parse(process.argv[2]);
const conn = new jsforce.Connection({ instanceUrl: url, accessToken });
conn.bulk2.pollInterval = 50;
conn.bulk2.pollTimeout = 30_000;

const load = (operation, input, more = {}) =>
  conn.bulk2.loadAndWaitForResults({ object: "Account", operation, input, ...more });

const inserted = await load(
  "insert",
  Array.from({ length: 4_500 }, (_, n) => ({ External_Id__c: `b${n}`, Name: `Bulk ${n}` })),
);
const upserted = await load(
  "upsert",
  [
    { External_Id__c: "b1", Name: 'Quotes "", commas, and\na line' },
    { External_Id__c: "b9999", Name: "Ünïcödé 🌙" },
    { External_Id__c: "b9998", Name: "" },
  ],
  { externalIdFieldName: "External_Id__c" },
);
const failed = await load("insert", [{ Nonsense__c: "1" }]).catch((error) => ({ message: error.message }));

const where = "FROM Account WHERE External_Id__c LIKE 'b%'";
const soql = `SELECT Id, External_Id__c, Name ${where} ORDER BY External_Id__c`;
const first = await conn.query(soql);
const second = await conn.queryMore(first.nextRecordsUrl);
const all = await conn.query(soql, { autoFetch: true, maxFetch: 10_000 });
const found = await conn.sobject("Account").find({ External_Id__c: { $in: ["b1", "b9999"] } }, ["Name"]).sort("Name");
const bulk = await (await conn.bulk2.query(soql)).toArray();

const ids = Object.fromEntries(bulk.map((record) => [record.External_Id__c, record.Id]));
const updated = await load("update", [{ Id: ids.b2, Phone: "2" }, { Id: "001", Phone: "3" }]);
const deleted = await load("delete", [{ Id: ids.b3 }, { Id: ids.b4 }]);

const counts = ({ successfulResults, failedResults, unprocessedRecords }) => [
  successfulResults.length, failedResults.length, unprocessedRecords.length,
];
console.log(
  JSON.stringify({
    inserted: counts(inserted), upserted, failed, updated, deleted: counts(deleted),
    pages: [first.totalSize, first.records.length, first.done, second.records.length, second.done, all.records.length],
    found: found.map((record) => record.Name),
    bulk: bulk.length, same: bulk.every((record, n) => record.Id === all.records[n].Id && record.Name === all.records[n].Name),
    count: await conn.sobject("Account").count({ External_Id__c: { $like: "b%" } }),
  }),
);
