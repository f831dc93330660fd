// Checks X-Countersign-Assertion inside an app. Copy this file; it needs `npm install jose`.
// What is checked, and why, is in the README beside it.

import { createHash } from 'node:crypto'
import { createRemoteJWKSet, jwtVerify } from 'jose'

const TYP = 'countersign-assertion+jwt'
const SKEW_SECS = 5
const REFETCH_MS = 30_000

/** Answer 401 and serve nothing. */
export class Refused extends Error {}

/** Checks assertions for one app. */
export class Verifier {
  #options
  #keys

  /** `issuer` is https://<auth host>; `app` the app's name at the gateway. */
  constructor(issuer, app, jwksUrl) {
    // An unknown key id makes jose fetch the set again, at most once per REFETCH_MS.
    this.#keys = createRemoteJWKSet(new URL(jwksUrl), { cooldownDuration: REFETCH_MS })
    this.#options = {
      algorithms: ['ES256'],
      typ: TYP,
      issuer,
      audience: app,
      clockTolerance: SKEW_SECS,
      requiredClaims: ['exp', 'iat', 'iss', 'aud', 'sub', 'req'],
    }
  }

  /** The claims, if `assertion` was made for this request. `target` is path?query (`request.url`), as received. */
  async verify(assertion, method, authority, target) {
    let claims
    try {
      ;({ payload: claims } = await jwtVerify(assertion, this.#keys, this.#options))
    } catch (error) {
      throw new Refused(error.message, { cause: error })
    }
    const hash = createHash('sha256').update(target, 'latin1').digest('base64url')
    const { m, a, p } = claims.req ?? {}
    if (m !== method || a !== authority || p !== hash) {
      throw new Refused('made for another request')
    }
    return claims
  }
}
