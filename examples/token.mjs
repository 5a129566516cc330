// A backend's endpoint that gives its signed-in user a token for the gateway. Node 20, no packages.
//   RELAY_JWT_SECRET=… node examples/token.mjs acme:42
import { createHmac } from 'node:crypto';

export function relayToken(user, secret, seconds = 900) {
  const encode = (part) => Buffer.from(JSON.stringify(part)).toString('base64url');
  const now = Math.floor(Date.now() / 1000);
  const claims = { iss: 'https://app.example.com', aud: 'claimr-relay', sub: user, iat: now, exp: now + seconds };
  const signed = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode(claims)}`;
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
}

if (process.argv[2]) console.log(relayToken(process.argv[2], process.env.RELAY_JWT_SECRET));
