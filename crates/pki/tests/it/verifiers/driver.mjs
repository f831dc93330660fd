// Feeds cases (one JSON object per line) to the Node sample; prints `ok` or `refused: <why>` for each.

import { createInterface } from 'node:readline'
import { Refused, Verifier } from './verify_assertion.mjs'

const verifier = new Verifier(...process.argv.slice(2, 5))
for await (const line of createInterface({ input: process.stdin })) {
  const { assertion, method, authority, target } = JSON.parse(line)
  try {
    const claims = await verifier.verify(assertion, method, authority, target)
    console.log('ok', claims.sub)
  } catch (refused) {
    if (!(refused instanceof Refused)) throw refused
    console.log('refused:', refused.message)
  }
}
