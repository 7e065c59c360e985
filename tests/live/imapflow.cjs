// What a Node program does with a mailbox by imapflow; prints what it found as JSON.
//
// Rule of this file: one JSON argument says where; nothing but the findings goes to standard output.
'use strict';

const crypto = require('crypto');
const fs = require('fs');

const job = JSON.parse(process.argv[2]);
const { ImapFlow } = require(job.imapflow);
const sha256 = octets => crypto.createHash('sha256').update(octets).digest('hex');

async function main() {
    const client = new ImapFlow({
        host: job.host,
        port: job.port,
        secure: job.tls === 'implicit',
        doSTARTTLS: { none: false, starttls: true }[job.tls],
        auth: { user: job.user, pass: job.password },
        tls: { ca: fs.readFileSync(job.authority), servername: 'localhost' },
        logger: false
    });
    const found = { folders: {} };
    await client.connect();
    for (const folder of await client.list()) {
        if (folder.flags.has('\\Noselect')) continue;
        const lock = await client.getMailboxLock(folder.path, { readonly: true });
        const messages = [];
        try {
            if (client.mailbox.exists) {
                for await (const message of client.fetch('1:*', { uid: true, flags: true, size: true, envelope: true, bodyStructure: true, source: true })) {
                    messages.push([message.uid, [...message.flags].filter(flag => flag !== '\\Recent').sort(), message.size, message.envelope.subject,
                        message.bodyStructure.type, sha256(message.source)]);
                }
            }
        } finally {
            lock.release();
        }
        found.folders[folder.path] = messages;
    }
    // Then change something: a new folder, a message into it, a flag, a move, a search, a download in pieces.
    const made = await client.mailboxCreate(job.box);
    const octets = fs.readFileSync(job.message);
    const first = await client.append(made.path, octets, ['\\Seen']);
    await client.append(made.path, octets, [], new Date(Date.UTC(2026, 4, 4)));
    const lock = await client.getMailboxLock(made.path);
    try {
        found.uid = first.uid;
        await client.messageFlagsAdd('1', ['\\Flagged']);
        found.flagged = await client.search({ flagged: true });
        found.unseen = await client.search({ seen: false });
        const { content } = await client.download('1');
        const pieces = [];
        for await (const piece of content) pieces.push(piece);
        found.downloaded = sha256(Buffer.concat(pieces));
        found.moved = Boolean(await client.messageMove('2', 'INBOX'));
        found.left = client.mailbox.exists;
    } finally {
        lock.release();
    }
    found.status = (await client.status('INBOX', { messages: true })).messages;
    await client.logout();
    console.log(JSON.stringify(found));
}

main().catch(error => {
    console.error(error);
    process.exit(1);
});
